"""The images' own test: each check can fail, a skip has its reason and is no pass."""

import json
import platform
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from containers import engine, selftest
from containers.engine import Build
from containers.evidence import add_subject
from containers.selftest import Subject
from containers.spec import ROOM, load
from kit.errors import KitError

MINOR = ".".join(platform.python_version_tuple()[:2])
BARE = Subject("train", load().data, {}, MINOR)


def result(subject: Subject, name: str) -> tuple[str, str]:
    [found] = selftest.run(subject, [name])
    return found.state, found.words


def test_another_python_than_the_lock_s_is_a_failure() -> None:
    assert result(BARE, "machine")[0] == "ok"
    state, words = result(replace(BARE, python="2.7"), "machine")
    assert (state, "but the lock is for Python 2.7" in words) == ("fail", True)


def test_versions_are_held_against_the_lock() -> None:
    here = {n: v for n, v in selftest.installed().items() if n != "pip"}
    assert result(replace(BARE, pins=here), "versions")[0] == "ok"
    click = here["click"]
    for pins, says in (
        ({**here, "click": "0.1"}, f"click {click} instead of 0.1"),
        ({**here, "no-such-package": "1"}, "no-such-package is missing"),
        ({n: v for n, v in here.items() if n != "click"}, "click is not in the lock"),
    ):
        state, words = result(replace(BARE, pins=pins), "versions")
        assert (state, says in words) == ("fail", True), words


def test_a_seam_that_does_not_fit_is_named(tmp_path: Path) -> None:
    for name in ("selftest.py", "seams.py"):
        shutil.copyfile(ROOM / name, tmp_path / name)
    (tmp_path / "lock").mkdir()
    machine = platform.machine()
    (tmp_path / "lock" / "lock.toml").write_text(f'python = "{MINOR}"\n')
    (tmp_path / "lock" / f"{machine}.txt").write_text("click==1.0\n")
    (tmp_path / "images.toml").write_text("[images.train]\n")

    def run(text: str) -> tuple[int, str]:
        (tmp_path / "seams.toml").write_text(text)
        words = [sys.executable, str(tmp_path / "selftest.py"), "--home", str(tmp_path), "--only",
                 "seams"]  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True)
        return done.returncode, done.stdout.splitlines()[0]

    head = '[click]\nimages = ["train"]\n'
    assert run(head + '"click:echo" = ["message"]\n') == (0, "ok    seams       1 fit")
    code, line = run(head + '"click:echo" = ["no_such_argument"]\n')
    assert code == 1
    assert "1 do not fit: click:echo: it takes no no_such_argument (click" in line
    assert "pinned 1.0" in line
    code, line = run('[absent]\nimages = ["train"]\n"absent:x" = []\n')
    assert (code, line) == (0, "skip  seams       no package of the list is here")


@pytest.mark.parametrize("name", ["cuda", "gpu", "attention", "all-reduce", "vllm"])
def test_what_the_lock_does_not_hold_is_skipped_with_a_reason(name: str) -> None:
    state, words = result(BARE, name)
    assert (state, "is not in this lock" in words) == ("skip", True), words


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("NVRM version: NVIDIA Kernel Module  535.129.03", "535 is older than 580"),
        ("NVRM version: NVIDIA Kernel Module  590.12.01", "but no GPU"),
        ("garbage", "but no GPU"),
    ],
)  # fmt: skip
def test_why_there_is_no_gpu(said: str, words: str) -> None:
    assert words in selftest.driver_trouble(580, said)


def test_an_image_for_another_architecture_is_refused(tmp_path: Path) -> None:
    shutil.copyfile(ROOM / "images.toml", tmp_path / "images.toml")
    shutil.copytree(ROOM / "locks" / "train", tmp_path / "lock")
    assert selftest.read("train", tmp_path).pins["torch"] == "2.13.0"
    with pytest.raises(selftest.Wrong, match="no image 'trian'"):
        selftest.read("trian", tmp_path)
    for file in (tmp_path / "lock").glob(f"{platform.machine()}*"):
        file.unlink()
    with pytest.raises(selftest.Wrong, match=f"is not for {platform.machine()}"):
        selftest.read("train", tmp_path)
    (tmp_path / "images.toml").unlink()
    with pytest.raises(selftest.Wrong, match="does not say what it was made from"):
        selftest.read("train", tmp_path)


@pytest.mark.slow
def test_two_processes_sum_also_where_the_host_s_name_is_unknown(tmp_path: Path) -> None:
    """As in a build, whose host is called by the container's number."""
    pytest.importorskip("torch")
    alone = ["unshare", "--user", "--map-root-user", "--uts", "sh", "-c",
             'hostname afac2c0291ad && exec "$@"', "sh"]  # fmt: skip
    if not shutil.which("unshare") or subprocess.run([*alone, "true"]).returncode:
        pytest.skip("a process cannot have a host name of its own here")
    shutil.copyfile(ROOM / "images.toml", tmp_path / "images.toml")
    (tmp_path / "lock").mkdir()
    (tmp_path / "lock" / "lock.toml").write_text(f'python = "{MINOR}"\n')
    (tmp_path / "lock" / f"{platform.machine()}.txt").write_text("torch==2.13.0\n")
    words = [*alone, sys.executable, selftest.__file__, "--home", str(tmp_path), "--in-build",
             "--only", "all-reduce"]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.stdout.startswith("ok    all-reduce  2 ranks over gloo, as there is no GPU"), (
        done.stdout + done.stderr
    )


def test_a_sum_that_fails_names_the_first_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(selftest, "__file__", "/no/such/file.py")
    said = "E1125 can't open file\nRuntimeError: planted\nChildFailedError: the summary\n"
    assert selftest._first(said) == "RuntimeError: planted"
    assert selftest._first("no word of it\nlast") == "last"
    state, words = result(replace(BARE, pins={"torch": "x"}), "all-reduce")
    assert (state, "exit code 1" in words) == ("fail", True), words


def test_each_engine_is_told_platform_time_and_arguments() -> None:
    what = Build(
        Path("f"), Path("c"), load().platform("aarch64"), "t", {"BASE": "b"}, 0, fresh=True
    )
    for name in engine.ENGINES:
        words = " ".join(engine.build_command(name, what, Path("i")))
        for part in ("--platform linux/arm64", "--build-arg BASE=b", "--no-cache", "--iidfile i"):
            assert part in words, name
        assert "--timestamp 0" in words or "SOURCE_DATE_EPOCH=0" in words


@pytest.mark.parametrize(
    ("log", "says"),
    [
        (
            "STEP 1\nERROR: THESE PACKAGES DO NOT MATCH THE HASHES from\nError: exit 1",
            "DO NOT MATCH",
        ),
        ("write /x: No space left on device\nError: building", "No space left"),
        ("exec /bin/sh: exec format error\n", "exec format error"),
        ("", "said nothing"),
    ],
)
def test_the_first_cause_of_a_failed_build_is_found(log: str, says: str) -> None:
    assert says in engine.reason(log)


def test_an_exported_file_becomes_a_subject(tmp_path: Path) -> None:
    file = tmp_path / "x.sqsh"
    file.write_bytes(b"image")
    text = add_subject(json.dumps({"subject": [{"name": "a", "digest": {}}]}), file)
    assert [s["name"] for s in json.loads(text)["subject"]] == ["a", "x.sqsh"]
    assert len(json.loads(add_subject(text, file))["subject"]) == 2
    with pytest.raises(KitError, match="no provenance"):
        add_subject("[]", file)
