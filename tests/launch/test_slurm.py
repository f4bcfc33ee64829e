"""Runs on a real Slurm: submission, chains, refusals, and what is said when Slurm is away."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from realslurm import RealSlurm

from kit.errors import KitError
from launch.cli.run import end
from launch.run.folder import Run
from launch.run.recipe import ROOT
from launch.slurm import chain, jobs, pipeline, state
from launch.stages import execution

pytestmark = pytest.mark.slurm
NewRun = Callable[..., Run]


def wait(run: Run) -> None:
    jobs.wait(run, pipeline.Observer())


def test_a_stage_runs_as_a_job_and_is_not_run_again(slurm: RealSlurm, slurm_run: NewRun) -> None:
    run = slurm_run()
    numbers = chain.submit(run)
    wait(run)
    assert execution.finished(run, "corpus")
    assert chain.job_number(run, "corpus") == numbers["corpus"]
    assert "components" in (run.folder("corpus") / "summary.json").read_text()
    assert (run.folder("corpus") / "log").read_text().count("rows") > 0
    assert chain.submit(run) == {}


def test_after_a_failed_stage_the_next_is_not_left_waiting(
    slurm: RealSlurm, slurm_run: NewRun, corpus_file: Path
) -> None:
    corpus_file.write_text('{"id": "a", "conversations": []}\n')
    run = slurm_run(stages=("corpus", "judge"))
    numbers = chain.submit(run)
    with pytest.raises(pipeline.StageFailedError, match="1 of 1 rows") as error:
        wait(run)
    assert "mend or remove these rows" in error.value.fix
    slurm.wait_for_state(numbers["judge"], "CANCELLED")
    seen = state.overview(run, state.ask([run]))
    assert seen["stages"] == {"corpus": "failed", "judge": "interrupted"}


@pytest.mark.parametrize(
    ("changes", "says", "fix"),
    [
        ({"partition": "gpu"}, "invalid partition", "SBATCH_PARTITION"),
        ({"gpus_per_node": 9, "stages": ("train",)}, "node configuration", "sinfo"),
        ({"sbatch": {"constraint": "no-such"}}, "invalid feature", "mfo site show"),
    ],
)
def test_a_refusal_of_sbatch_is_shown_with_its_cause(
    slurm: RealSlurm, slurm_run: NewRun, changes: dict[str, object], says: str, fix: str
) -> None:
    run = slurm_run(changes.pop("stages", ("corpus",)), **changes)
    with pytest.raises(KitError, match="sbatch refused") as error:
        chain.submit(run)
    assert says in str(error.value).lower()
    assert fix in error.value.fix
    assert not slurm.call("squeue", "-h").stdout


def test_a_refused_link_takes_the_chain_back(slurm: RealSlurm, slurm_run: NewRun) -> None:
    run = slurm_run(("corpus", "train"), nodes=9)  # four nodes exist
    with pytest.raises(KitError, match="sbatch refused the train job"):
        chain.submit(run)
    number = chain.job_number(run, "corpus")
    assert number
    slurm.wait_for_state(number, "CANCELLED", "COMPLETED")


def test_without_slurm_the_way_out_is_named(
    slurm_run: NewRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KitError, match="there is no sbatch here") as error:
        chain.submit(slurm_run())
    assert "--dry-run" in error.value.fix


def test_alive_jobs_are_not_submitted_twice_and_can_be_cancelled(
    slurm: RealSlurm, slurm_run: NewRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = slurm_run(setup=["sleep 60"])
    numbers = chain.submit(run)
    slurm.wait_for_state(numbers["corpus"], "RUNNING")
    with pytest.raises(KitError, match="jobs of this run are alive") as error:
        chain.submit(run)
    assert "mfo cancel" in error.value.fix
    assert end(run) == 0
    assert f"cancelled job {numbers['corpus']}" in capsys.readouterr().out
    slurm.wait_for_state(numbers["corpus"], "CANCELLED")
    assert state.overview(run, state.ask([run]))["state"] == "interrupted"
    assert end(run) == 0
    assert "no job of this run is alive" in capsys.readouterr().out


def test_a_controller_that_is_away_is_said_and_comes_back(
    slurm: RealSlurm, slurm_run: NewRun
) -> None:
    run = slurm_run(setup=["sleep 20"])  # srun itself needs the controller
    numbers = chain.submit(run)
    slurm.wait_for_state(numbers["corpus"], "RUNNING")
    slurm.kill_controller()
    with pytest.raises(KitError, match="Slurm does not say") as error:
        chain.submit(run)
    assert "mfo resume" in error.value.fix
    assert state.ask([run]) is None
    slurm.start_controller()
    assert "corpus" in chain.alive(run), "the job is as it was"


def test_a_requeued_stage_is_one_run(slurm: RealSlurm, slurm_run: NewRun) -> None:
    run = slurm_run(setup=["sleep 3"])
    number = chain.submit(run)["corpus"]
    slurm.wait_for_state(number, "RUNNING")
    slurm.say("requeue", number)
    wait(run)
    assert execution.finished(run, "corpus")
    assert slurm.job(number)["Restarts"] == "1"


def test_a_token_reaches_the_job_and_no_file(
    slurm: RealSlurm, slurm_run: NewRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_planted0secret")
    monkeypatch.setenv("WANDB_API_KEY", "planted1secret")
    seen = tmp_path / "seen"
    run = slurm_run(setup=[f'printf %s "${{#HF_TOKEN}} ${{#WANDB_API_KEY}}" > {seen}'])
    chain.submit(run)
    wait(run)
    assert seen.read_text() == f"{len('hf_planted0secret')} {len('planted1secret')}"
    files = [p for p in run.path.rglob("*") if p.is_file()]
    assert any(p.suffix == ".pkl" for p in files)
    assert any(p.name.endswith("_submission.sh") for p in files)
    for secret in (b"hf_planted0secret", b"planted1secret"):
        assert not [p for p in files if secret in p.read_bytes()]


def test_a_killed_launcher_does_not_end_the_jobs(slurm: RealSlurm, slurm_run: NewRun) -> None:
    run = slurm_run(setup=["sleep 3"])
    words = [sys.executable, "-m", "launch", "resume", str(run.path)]
    launcher = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not (number := chain.job_number(run, "corpus")) and time.monotonic() < end:
        time.sleep(0.1)
    assert number
    launcher.kill()
    launcher.wait()
    wait(run)
    assert execution.finished(run, "corpus")


def test_an_image_that_is_not_there_is_named_before_submission(
    slurm: RealSlurm, slurm_run: NewRun, tmp_path: Path
) -> None:
    image = tmp_path / "mfo-train.sqsh"
    run = slurm_run(runtime="pyxis", images={"train": str(image)})
    with pytest.raises(KitError, match=r"mfo-train\.sqsh is not there") as error:
        chain.submit(run)
    assert "mfo site check" in error.value.fix
    image.touch()
    with pytest.raises(pipeline.StageFailedError):  # this Slurm has no Pyxis: the job says so
        chain.submit(run)
        wait(run)
    from launch.slurm.diagnose import diagnose, logs_of

    found = diagnose(logs_of(run))
    assert found is not None
    assert found.rule.name == "wrong-image"


def test_seeds_are_one_array_whose_elements_go_their_own_way(
    slurm: RealSlurm, slurm_run: NewRun, tmp_path: Path
) -> None:
    from launch.cli.run import run_seeds

    # The second seed's job fails until the test allows it; the others must not care.
    fails = f'[ "$SLURM_ARRAY_TASK_ID" != 1 ] || [ -e {tmp_path}/mended ] || exit 7'
    runs = [slurm_run(stages=("corpus", "judge"), setup=["sleep 1", fails]) for _ in range(3)]
    assert run_seeds(runs, as_json=False, detach=True) == 0
    numbers = [str(chain.job_number(run, "corpus")) for run in runs]
    array = numbers[0].partition("_")[0]
    assert numbers == [f"{array}_{n}" for n in range(3)]
    for run in (runs[0], runs[2]):
        slurm.until(lambda run=run: execution.finished(run, "corpus"), "the other seeds", 60)
    seen = state.overview(runs[1], state.ask([runs[1]]))
    assert seen["stages"]["corpus"] == "failed"

    slurm.empty()
    (tmp_path / "mended").touch()
    chain.submit(runs[1])  # what mfo resume does with the one that failed
    slurm.until(lambda: execution.finished(runs[1], "corpus"), "the resumed seed", 60)
    folders = {run.folder("corpus") / "log" for run in runs}
    assert all("rows" in log.read_text() for log in folders), "each wrote into its own run"
    shared = next(runs[0].path.parent.glob(".seeds-*"))
    assert shared.stat().st_mode & 0o077 == 0, "its pickles run code"


def test_a_requeued_element_of_an_array_comes_back_as_itself(
    slurm: RealSlurm, slurm_run: NewRun, tmp_path: Path
) -> None:
    gate = f"until [ -e {tmp_path}/gate ]; do sleep 0.2; done"
    runs = [slurm_run(setup=[gate]) for _ in range(2)]
    chain.submit_together(runs)
    number = str(chain.job_number(runs[1], "corpus"))
    slurm.wait_for_state(number, "RUNNING")
    slurm.say("requeue", number)
    slurm.until(lambda: slurm.job(number).get("Restarts") == "1", "the requeue")
    slurm.wait_for_state(number, "RUNNING")
    known = state.ask(runs)
    assert known is not None and known[number].restarts == 1
    assert (runs[0].status("corpus")["state"], runs[1].status("corpus")["state"]) == ("queued",) * 2
    (tmp_path / "gate").touch()
    for run in runs:
        wait(run)
        assert execution.finished(run, "corpus")
