"""mfo image check: each thing can be found wrong, by the real uv on real wheels."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import wheels

from containers import builder, carry, check, lock, lockfile
from containers.builder import Plan
from containers.spec import Spec, load
from containers.uv import compile_pins, program
from kit.errors import KitError
from kit.files import sha256_file

TRAIN = ["torch==2.13.0"]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    wheels.torchlike(folder)
    return folder


@pytest.fixture(autouse=True)
def offline(index: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """uv sees this folder and no other index."""
    for name in [n for n in os.environ if n.startswith("UV_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_DEFAULT_INDEX", wheels.publish(index))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Spec]:
    def make(train: list[str], evaluate: list[str] | None = None) -> Spec:
        spec = wheels.spec(tmp_path / "containers", train, evaluate)
        for name in spec.images:
            lock.renew(spec, name, "a test", say=lambda _: None)
        return spec

    return make


def wrong(findings: list[check.Finding]) -> list[str]:
    return [f.words for f in findings if not f.holds]


def all_of(spec: Spec) -> list[str]:
    held = check.read_locks(spec)
    return wrong([*check.static(spec, held), *check.against_index(spec, held)])


def test_a_good_spec_holds_and_says_what_it_looked_at(made: Callable[..., Spec]) -> None:
    spec = made(TRAIN)
    held = check.read_locks(spec)
    findings = [*check.static(spec, held), *check.against_index(spec, held)]
    assert wrong(findings) == []
    said = "\n".join(f.words for f in findings)
    for words in (
        "torch 2.13.0 is 2.11 or newer",
        "comes with CUDA's libraries",
        "train, aarch64: all 11",
        "every image has torch 2.13.0",
        "exactly one of CSCS's network modes",
    ):
        assert words in said


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_a_tampered_hash_is_named(made: Callable[..., Spec]) -> None:
    spec = made(TRAIN)
    held = check.read_locks(spec)["train"].all("aarch64")["torch"].hashes[0]
    other = held[:-1] + ("0" if held[-1] != "0" else "1")
    edit(spec.locks / "train" / "aarch64.txt", held, other)
    assert all_of(spec) == [
        f"train, aarch64: torch 2.13.0 has a hash that the index does not know: sha256:{other}"
    ]


def test_a_lock_of_another_platform_is_named(made: Callable[..., Spec]) -> None:
    spec = made(TRAIN)
    # A package without a wheel for aarch64, as a lock that was made on x86-64 would have it.
    file = spec.locks / "train" / "aarch64.txt"
    file.write_text(file.read_text() + f"only-x86==1.0 \\\n    --hash=sha256:{'0' * 64}\n")
    [found] = all_of(spec)
    assert "train, aarch64: a package has no wheel for aarch64" in found
    assert "only-x86" in found


def test_a_mismatch_between_the_images_is_named(made: Callable[..., Spec]) -> None:
    spec = made(TRAIN, ["torch==2.14.1"])
    [found] = all_of(spec)
    assert "the images differ in torch" in found
    assert "train, aarch64: 2.13.0" in found
    assert "eval, aarch64: 2.14.1" in found


def test_a_harness_that_cannot_load_its_engine_is_named(made: Callable[..., Spec]) -> None:
    """Two pins that each resolve, and do not fit: the images once held just these."""
    spec = made(TRAIN, [*TRAIN, "vllm==0.30.0", "lm-eval==0.4.11"])
    found = all_of(spec)
    assert len(found) == 2, "for each architecture"
    assert "eval, aarch64: lm-eval 0.4.11 is not 0.4.12 or newer" in found[0]
    assert "resolve_hf_chat_template" in found[0]
    # The training image has no vLLM, and axolotl's own pin.
    assert (
        all_of(made([*TRAIN, "lm-eval==0.4.11"], [*TRAIN, "vllm==0.30.0", "lm-eval==0.4.13"])) == []
    )


def test_before_a_build_the_lock_is_held_against_the_index(made: Callable[..., Spec]) -> None:
    """Also another lock, of which nothing is known but what it holds."""
    spec = made(TRAIN)
    other = spec.locks.parent / "other"
    shutil.copytree(spec.locks / "train", other)
    for folder in (spec.locks / "train", other):
        plan = Plan("train", spec.platform("aarch64"), "b", folder, None, "podman")
        held = lockfile.read(folder, spec.platforms)
        assert "all 11 packages are in the index" in builder._index(spec, plan, held)
        digest = held.all("aarch64")["torch"].hashes[0]
        edit(folder / "aarch64.txt", digest, "0" * 64)
        with pytest.raises(KitError, match="has a hash that the index does not know"):
            builder._index(spec, plan, lockfile.read(folder, spec.platforms))


def test_without_an_index_a_build_goes_on_with_a_warning(
    made: Callable[..., Spec], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = made(TRAIN)
    plan = Plan("train", spec.platform("aarch64"), "b", spec.locks / "train", None, "podman")
    monkeypatch.setitem(sys.modules, "uv", None)
    said = builder._index(spec, plan, lockfile.read(plan.lock, spec.platforms))
    assert said.startswith("warning: not held against the index: uv is not installed")


def test_a_folder_of_wheels_is_held_against_the_lock(
    made: Callable[..., Spec], index: Path, tmp_path: Path
) -> None:
    spec = made(TRAIN)
    held, arm = lockfile.read(spec.locks / "train", spec.platforms), spec.platform("aarch64")
    folder = tmp_path / "wheels"
    shutil.copytree(index, folder)
    (folder / "notes.txt").write_text("not a package")
    assert carry.hold_against(folder, held, arm) == 11
    torch = folder / f"torch-2.13.0-py3-none-{wheels.AARCH64}.whl"
    data = torch.read_bytes()
    torch.write_bytes(data + b"x")
    with pytest.raises(KitError, match="is not the file that the lock holds"):
        carry.hold_against(folder, held, arm)
    torch.unlink()
    with pytest.raises(KitError, match="has no wheel for aarch64") as error:
        carry.hold_against(folder, held, arm)
    assert wheels.X86 in error.value.cause
    (folder / f"torch-2.13.0-cp27-cp27m-{wheels.AARCH64}.whl").write_bytes(data)
    with pytest.raises(KitError, match="no wheel for aarch64 and Python"):
        carry.hold_against(folder, held, arm)
    for file in folder.glob("torch-2.13.0-*"):
        file.unlink()
    with pytest.raises(KitError, match="1 packages of the lock are not in the folder: torch"):
        carry.hold_against(folder, held, arm)
    with pytest.raises(KitError, match="no folder of wheels"):
        carry.hold_against(tmp_path / "none", held, arm)


def test_a_source_is_fetched_without_being_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "index"
    folder.mkdir()
    file = wheels.source(folder, "flash-attn", "2.8.3")
    monkeypatch.setenv("UV_DEFAULT_INDEX", wheels.publish(folder))
    pin = lockfile.Pin("flash-attn", "2.8.3", (sha256_file(file),))
    spec = load()
    facts = lockfile.Facts(python="3.12", made_from="", machines=[], renewed=[])

    def fetch(pin: lockfile.Pin, target: Path) -> int:
        parts = {"": {}, ".source": {}, ".kernels": {pin.name: pin}}
        held = lockfile.Lock(tmp_path, facts, {"aarch64": parts})
        return carry.fetch(held, spec.platform("aarch64"), target, lambda _: None)

    assert fetch(pin, tmp_path / "got") == 1
    assert sha256_file(tmp_path / "got" / file.name) == pin.hashes[0]
    with pytest.raises(KitError, match="which is not the lock's"):
        fetch(replace(pin, hashes=("0" * 64,)), tmp_path / "changed")
    assert not list((tmp_path / "changed").iterdir())
    with pytest.raises(KitError, match="cannot be resolved"):
        fetch(replace(pin, version="2.8.4"), tmp_path / "none")
    file.unlink()
    with pytest.raises(KitError, match="cannot be downloaded"):
        fetch(pin, tmp_path / "gone")


def test_an_edited_version_and_a_dropped_package_are_named(made: Callable[..., Spec]) -> None:
    spec = made(TRAIN)
    file = spec.locks / "train" / "x86_64.txt"
    edit(file, "torch==2.13.0", "torch==2.14.1")
    found = "\n".join(all_of(spec))
    assert "torch is 2.13.0 and 2.14.1, by architecture" in found
    edit(file, "torch==2.14.1", "torch==2.13.0")
    text = file.read_text()
    begin = text.index("submitit==")
    file.write_text(text[:begin] + text[text.index("torch==") :])
    assert "train, x86_64: submitit is needed, but not locked" in all_of(spec)


def test_a_cpu_build_of_torch_is_named(made: Callable[..., Spec]) -> None:
    spec = made(["torch==2.10.0"])
    found = wrong(check.static(spec, check.read_locks(spec)))
    assert any("train, aarch64: torch 2.10.0 is not 2.11 or newer: " in f for f in found), found
    assert any("train, aarch64: torch comes without nvidia-cublas" in f for f in found), found
    assert not any("x86_64: torch comes without" in f for f in found), found


def test_torch_too_new_for_flash_attn_is_named(made: Callable[..., Spec]) -> None:
    spec = made(["torch==2.14.1", "flash-attn==2.8.3"], ["torch==2.14.1"])
    found = wrong(check.static(spec, check.read_locks(spec)))
    assert any("torch 2.14.1 is not below 2.14: flash-attn 2.8.3 hard-codes" in f for f in found), (
        found
    )
    assert not any(f.startswith("eval") for f in found), "eval has no flash-attn"


def test_a_requirement_changed_without_a_new_lock_is_named(made: Callable[..., Spec]) -> None:
    spec = made(TRAIN)
    edit(spec.path, "submitit==1.0", "submitit==2.0")
    found = wrong(check.static(load(spec.path), check.read_locks(load(spec.path))))
    assert "train: the lock is made from other requirements than images.toml's" in found


def test_both_network_modes_at_once_are_named(made: Callable[..., Spec]) -> None:
    spec = made(TRAIN)
    edit(spec.path, '"com.hooks.cxi.enabled" = "false"', '"com.hooks.cxi.enabled" = "true"')
    found = wrong(check.static(load(spec.path), check.read_locks(load(spec.path))))
    assert any("edf.aei asks for both network modes, or for none" in f for f in found), found


def test_a_package_without_a_wheel_cannot_be_locked(tmp_path: Path) -> None:
    spec = wheels.spec(tmp_path / "c", ["only-x86==1.0"])
    with pytest.raises(KitError, match="no wheel for aarch64") as error:
        lock.renew(spec, "train", "a test", say=lambda _: None)
    assert "images.toml" in error.value.fix


def test_a_lock_keeps_its_history_and_needs_a_reason(made: Callable[..., Spec]) -> None:
    spec = made(TRAIN)
    lock.renew(spec, "train", "again", say=lambda _: None)
    assert [r.why for r in check.read_locks(spec)["train"].facts.renewed] == [
        "a test",
        "again",
    ]
    with pytest.raises(KitError, match="for a reason"):
        lock.renew(spec, "train", "  ")


def test_a_renewed_lock_keeps_versions_that_no_pin_asks_to_change(
    tmp_path: Path, index: Path
) -> None:
    spec = wheels.spec(tmp_path / "c", TRAIN)
    # One is needed by torch alone, one is asked for by name and without a version.
    edit(spec.path, "requirements = []", 'requirements = ["nvidia-cuda-runtime"]')
    spec = load(spec.path)
    first = lock.renew(spec, "train", "a test", say=lambda _: None)
    named = ("nvidia-cublas", "nvidia-cuda-runtime")
    newer = [wheels.wheel(index, n, "13.9", t) for n in named for t in (wheels.AARCH64, wheels.X86)]
    wheels.publish(index)
    try:
        kept = lock.renew(spec, "train", "again", say=lambda _: None)
        fresh = lock.renew(spec, "train", "newest", upgrade=True, say=lambda _: None)
    finally:
        for file in newer:
            file.unlink()
        wheels.publish(index)
    for name in named:
        versions = [lk.all("aarch64")[name].version for lk in (first, kept, fresh)]
        assert versions == ["13.0", "13.0", "13.9"], name


def test_no_index_in_reach_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = wheels.spec(tmp_path / "c", TRAIN)
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(KitError, match="cannot be reached") as error:
        compile_pins(spec, ["torch"], spec.platform("aarch64"), "3.12")
    assert "--offline" in error.value.fix


def test_without_uv_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uv", None)
    with pytest.raises(KitError, match="uv is not installed") as error:
        program()
    assert "pip install" in error.value.fix


def test_the_committed_locks_hold_without_an_index() -> None:
    spec = load()
    assert wrong(check.static(spec, check.read_locks(spec))) == []


def test_pip_itself_refuses_a_wrong_hash(
    made: Callable[..., Spec], index: Path, tmp_path: Path
) -> None:
    """The lock's files are what pip checks in a build: a changed wheel does not get in."""
    spec = made(TRAIN)
    target = tmp_path / "changed"
    shutil.copytree(index, target)
    wheels.wheel(target, "submitit", "1.0", requires=("transformers",))
    for folder, code in ((index, 0), (target, 1)):
        words = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--require-hashes",
            "--no-index",
            "--find-links",
            str(folder),
            "--dest",
            str(tmp_path / f"got{code}"),
            "--platform",
            wheels.AARCH64,
            "--only-binary",
            ":all:",
            "-r",
            str(spec.locks / "train" / "aarch64.txt"),
        ]
        env = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
        done = subprocess.run(words, capture_output=True, text=True,
                              env={**env, "PIP_CONFIG_FILE": os.devnull})  # fmt: skip
        assert done.returncode == code, done.stderr
    assert "DO NOT MATCH" in done.stderr
    assert lockfile.read(spec.locks / "train", spec.platforms).all("aarch64")["submitit"]
