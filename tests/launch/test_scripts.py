"""The scripts that are sent to Slurm, word for word: tests/launch/golden/<site>.txt.

After a change that is meant: MFO_GOLDEN=write pytest tests/launch/test_scripts.py, then read the
difference in git.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from kit.errors import KitError
from launch.run import recipe, site
from launch.run.recipe import ROOT
from launch.slurm import container
from launch.slurm.script import REQUEUE, make

GOLDEN = Path(__file__).parent / "golden"
SLURM_SITES = [n for n in site.known_sites() if site.load(n).scheduler == "slurm"]
RUN = Path("/runs/RUN")


@pytest.fixture(autouse=True)
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    """One user's environment, the same wherever the tests run."""
    for name in ("SBATCH_PARTITION", "SBATCH_QOS", "MFO_CACHE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    given = {"SBATCH_ACCOUNT": "my-project", "USER": "me", "HOME": "/home/me",
             "SCRATCH": "/scratch/me", "SCRATCHDIR": "/scratch/me", "PROJECT": "/project/mine",
             "PROJECTDIR": "/project/mine", "WORK": "/store/me"}  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)


def rendered(name: str, seeds: int = 1) -> str:
    out, before = [], None
    for stage in ("corpus", "train", "evaluate", "judge"):
        script = make(recipe.load("gemma-3-27b"), site.load(name), stage, RUN, count=seeds)
        script = script.after(before)
        out += [f"--- {stage}\n{script.text()}"]
        out += [f"--- {path}\n{text}" for path, text in script.files.items()]
        before = f"JOB_OF_{stage.upper()}"
    text = "\n".join(out)
    # The interpreter first: `make test` keeps its environment inside the kit.
    return text.replace(sys.executable, "{PYTHON}").replace(str(ROOT), "{KIT}")


@pytest.mark.parametrize("name", SLURM_SITES)
def test_golden(name: str) -> None:
    file = GOLDEN / f"{name}.txt"
    text = rendered(name)
    if os.environ.get("MFO_GOLDEN") == "write":
        file.write_text(text)
    assert text == file.read_text()


def test_several_seeds_are_arrays_and_nothing_else_changes() -> None:
    one, three = rendered("clariden").splitlines(), rendered("clariden", seeds=3).splitlines()
    more = [line for line in three if line not in one]
    assert "#SBATCH --array=0-2%3" in more
    waits = [line for line in more if "aftercorr" in line]
    assert len(set(waits)) == 3, "an element waits for its own seed's, not for all seeds"
    others = {line for line in more if "aftercorr" not in line and "--array" not in line}
    # An element's log bears the array's number and its own.
    assert all("%A_%a" in line for line in others), others


@pytest.mark.parametrize("name", SLURM_SITES)
def test_shellcheck(name: str, tmp_path: Path) -> None:
    checker = shutil.which("shellcheck")
    if checker is None:
        pytest.skip("shellcheck is not installed here")
    for stage in ("corpus", "train"):
        text = make(recipe.load("gemma-3-27b"), site.load(name), stage, RUN).text()
        file = tmp_path / f"{stage}.sh"
        file.write_text(text)
        found = subprocess.run([checker, str(file)], capture_output=True, text=True)
        assert found.returncode == 0, found.stdout


def test_shellcheck_would_see_an_unquoted_path(tmp_path: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed here")
    file = tmp_path / "x.sh"
    file.write_text("#!/bin/bash\n" + REQUEUE.replace('"$flag"', "$flag") + "\n")
    assert subprocess.run(["shellcheck", str(file)], capture_output=True).returncode == 1


def test_sites_differ_only_where_their_profiles_say() -> None:
    one, two = (rendered(n).splitlines() for n in ("clariden", "clariden-aei"))
    changed = [line for line in one if line not in two] + [line for line in two if line not in one]
    says = ("srun ", "image = ", "entrypoint", "com.hooks", "PMIX_MCA_psec")
    assert changed
    assert not [line for line in changed if not any(word in line for word in says)]


def test_every_setting_has_evidence() -> None:
    from launch.plan.site_check import examine

    for name in site.known_sites():
        unsaid = [
            words for good, words in examine(site.load(name)) if "evidence" in words and not good
        ]
        assert not unsaid, f"{name}: {unsaid}"
    bare = replace(site.load("vista"), evidence={})
    assert any(not good and "evidence" in words for good, words in examine(bare))


def test_never_both_network_modes() -> None:
    for name in ("clariden", "clariden-aei"):
        hooks = site.load(name).edf["annotations"]
        ofi = hooks["com.hooks.aws_ofi_nccl.enabled"] == "true"
        cxi_off = hooks.get("com.hooks.cxi.enabled") == "false"
        assert ofi != cxi_off, name


BOX = container.Container("", "/images/x.sqsh", ("/a:/a", "/b:/b:ro"), "/a", gpus=True,
                          environment={"K": "v w"})  # fmt: skip


@pytest.mark.parametrize(
    ("runtime", "srun", "python"),
    [
        ("container-engine", "--environment=/run/train/environment.toml", "python"),
        ("pyxis", "--container-image=/images/x.sqsh --container-mounts=/a:/a,/b:/b:ro "
         "--container-workdir=/a --no-container-mount-home", "python"),
        ("apptainer", "", "apptainer exec --no-home --nv --bind=/a:/a --bind=/b:/b:ro --pwd=/a "
         "/images/x.sqsh python"),
        ("podman-hpc", "", "podman-hpc run --rm --env-host --network=host --ipc=host --gpu "
         "--volume=/a:/a --volume=/b:/b:ro --workdir=/a /images/x.sqsh python"),
        ("none", "", sys.executable),
    ],
)  # fmt: skip
def test_one_description_for_every_runtime(runtime: str, srun: str, python: str) -> None:
    begun = container.start(replace(BOX, runtime=runtime), Path("/run/train"))
    assert (" ".join(begun.srun), begun.python) == (srun, python)
    for text in begun.files.values():
        edf = tomllib.loads(text)
        assert edf["image"] == "/images/x.sqsh"
        assert edf["mounts"] == ["/a:/a", "/b:/b:ro"]
        assert edf["env"] == {"K": "v w"}


def test_a_runtime_without_an_image_is_refused() -> None:
    with pytest.raises(KitError, match="names no image"):
        container.start(replace(BOX, runtime="pyxis", image=""), Path("/run"))


def test_mounts_cover_kit_run_and_cache_once(tmp_path: Path) -> None:
    place = replace(site.load("clariden"), mounts=["/scratch:/scratch"], cache="/scratch/me/mfo")
    box = container.describe(place, "train", Path("/scratch/me/runs/RUN"), [ROOT / "recipes"])
    assert box.mounts == ("/scratch:/scratch", f"{ROOT}:{ROOT}")


def test_an_account_is_asked_for_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SBATCH_ACCOUNT")
    with pytest.raises(KitError, match="charges an account") as error:
        make(recipe.load("gemma-3-27b"), site.load("clariden"), "train", RUN)
    assert "export SBATCH_ACCOUNT" in error.value.fix


def test_a_secret_in_a_profile_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "mfo" / "sites"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text('extends = "vista"\n[environment]\nHF_TOKEN = "hf_x"\n')
    with pytest.raises(KitError, match="HF_TOKEN looks like a secret"):
        site.load("mine")
    (folder / "mine.toml").write_text('extends = "vista"\npartition = "gh-dev"\n')
    assert site.load("mine").partition == "gh-dev"
    assert site.load("mine").nodes == site.load("vista").nodes
    (folder / "mine.toml").write_text('extends = "mine"\n')
    with pytest.raises(KitError, match="extends itself"):
        site.load("mine")


def test_one_step_stays_256_sequences_on_every_cluster() -> None:
    from launch.stages.train import accumulation

    gemma = recipe.load("gemma-3-27b")
    micro = gemma.table("train")
    for name in SLURM_SITES:
        place = site.load(name)
        if place.gpus_per_node:
            steps = accumulation(gemma, place)
            assert steps * place.world_size * micro["micro_batch_size"] == 256, name


def test_no_token_of_the_environment_is_in_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_planted")
    monkeypatch.setenv("WANDB_API_KEY", "planted0123")
    for name in SLURM_SITES:
        assert not re.search("hf_planted|planted0123", rendered(name))
