"""Slurm as clusters have it: with accounting (slurmdbd), and with container plugins (SPANK)."""

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import slurmdb
from realslurm import RealSlurm, missing, running

from launch.run.folder import Run, open_run
from launch.slurm import chain, jobs, pipeline, state
from launch.slurm import commands as asked
from launch.slurm.diagnose import diagnose, logs_of
from launch.stages import execution

pytestmark = pytest.mark.slurm
NewRun = Callable[..., Run]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[RealSlurm], None]:
    """Point this process's Slurm commands at a cluster."""

    def point(slurm: RealSlurm) -> None:
        monkeypatch.setenv("SLURM_CONF", slurm.env["SLURM_CONF"])
        monkeypatch.setenv("PATH", slurm.env["PATH"])
        monkeypatch.setattr(jobs, "ASK_EVERY_S", 0.5)

    return point


# --- accounting ----------------------------------------------------------------------------------
@pytest.fixture
def accounted(use: Callable[[RealSlurm], None]) -> Iterator[RealSlurm]:
    """A cluster whose controller forgets a job two seconds after its end; sacct does not."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    if lacking := missing() + slurmdb.missing(path):
        pytest.skip(f"not installed here: {', '.join(lacking)} (apt-get install slurmctld slurmd "
                    "slurm-client munge slurmdbd mariadb-server)")  # fmt: skip
    with running(accounting=True, more="MinJobAge=2") as slurm:
        use(slurm)
        yield slurm


def test_what_the_controller_forgot_is_asked_of_the_accounting(
    accounted: RealSlurm, slurm_run: NewRun, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    wait = [f"until [ -e {gate} ]; do sleep 0.2; done"]  # the stage begins when the test says so
    run = slurm_run(setup=wait)
    number = chain.submit(run)["corpus"]
    accounted.wait_for_state(number, "RUNNING")
    accounted.say("requeue", number)
    accounted.until(lambda: accounted.job(number).get("Restarts") == "1", "the requeue")
    accounted.wait_for_state(number, "RUNNING")
    assert chain.cancel(run)
    accounted.until(lambda: slurmdb.forgotten(accounted, number), "the job to be forgotten", 90)

    assert asked.ask([number]) == {}, "the controller does not know it any more"
    # slurmdbd tells a second or two later what it was told.
    accounted.until(lambda: number in asked.ask([number], history=True), "sacct to know the job")
    found = asked.ask([number], history=True)[number]
    assert (found.state, found.restarts) == ("CANCELLED", 1)
    seen = state.overview(run, state.ask([run], history=True))
    assert seen["stages"]["corpus"] == "interrupted"
    assert "cancelled" in seen["details"]["corpus"]["message"]

    gate.touch()
    chain.submit(run)
    jobs.wait(run, pipeline.Observer())
    assert execution.finished(run, "corpus"), "submitit, the real sacct and the kit go together"


# --- container plugins ---------------------------------------------------------------------------
@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if lacking := missing() + [p for p in ("gcc",) if shutil.which(p) is None]:
        pytest.skip(f"not installed here: {', '.join(lacking)}")
    if not Path("/usr/include/slurm/spank.h").exists():
        pytest.skip("Slurm's headers are not installed here (apt-get install libslurm-dev)")
    out = tmp_path_factory.mktemp("spank") / "spank_containers.so"
    source = Path(__file__).with_name("spank_containers.c")
    subprocess.run(["gcc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", out, source], check=True)
    return out


@pytest.fixture
def told(plugin: Path, use: Callable[[RealSlurm], None]) -> Iterator[Path]:
    """A cluster with the stand-in plugin; gives the file in which it writes what it was told."""
    log = plugin.with_name("log")
    log.unlink(missing_ok=True)
    stack = plugin.with_name("plugstack.conf")
    stack.write_text(f"required {plugin} {log}\n")
    with running(more=f"PlugStackConfig={stack}") as slurm:
        use(slurm)
        yield log


def options(log: Path) -> dict[str, str]:
    lines = [line.split(" ", 2)[2].split("=", 1) for line in log.read_text().splitlines()]
    return dict(lines)


@pytest.mark.parametrize("runtime", ["pyxis", "container-engine"])
def test_container_options_are_accepted_by_srun_and_reach_the_task(
    told: Path, slurm_run: NewRun, runtime: str, tmp_path: Path
) -> None:
    image = tmp_path / "train.sqsh"
    image.write_bytes(b"hsqs")
    run = slurm_run(runtime=runtime, python=sys.executable, mounts=["/opt:/opt:ro"],
                    images={"train": str(image), "eval": str(image)})  # fmt: skip
    chain.submit(run)
    jobs.wait(run, pipeline.Observer())
    assert execution.finished(run, "corpus")
    frozen = open_run(run.path).images["train"]
    assert frozen["sha256"] == hashlib.sha256(b"hsqs").hexdigest(), "run.toml knows its image"
    assert frozen["evidence"] == "none beside it"
    said = options(told)
    if runtime == "pyxis":
        assert said["container-image"] == str(image)
        assert said["container-workdir"] == str(run.path)
        assert said["no-container-mount-home"] == "yes"
        mounts = said["container-mounts"].split(",")
    else:
        file = Path(said["environment"])
        assert file.parent == run.folder("corpus")
        edf = tomllib.loads(file.read_text())
        assert edf["image"] == str(image)
        mounts = edf["mounts"]
    assert mounts[0] == "/opt:/opt:ro"
    sources = [Path(m.split(":")[0]) for m in mounts]
    assert any(s in run.path.parents for s in sources), "the job writes into the run's folder"


def test_without_the_plugin_the_refusal_is_named(slurm: RealSlurm, slurm_run: NewRun,
                                                 tmp_path: Path) -> None:  # fmt: skip
    image = tmp_path / "train.sqsh"
    image.touch()
    run = slurm_run(runtime="pyxis", python=sys.executable, images={"train": str(image)})
    chain.submit(run)
    with pytest.raises(pipeline.StageFailedError):
        jobs.wait(run, pipeline.Observer())
    found = diagnose(logs_of(run))
    assert found is not None and found.rule.name == "wrong-image"
