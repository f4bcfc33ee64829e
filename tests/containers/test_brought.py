"""What no package index carries: a person's wheel is looked into, built in, and told of."""

import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from containers import brought, builder, contents, evidence, lockfile
from containers.builder import Plan
from containers.contents import Package
from containers.spec import ROOM, Spec, load
from kit.errors import KitError

CCE = "cut_cross_entropy-25.5.2-py3-none-any.whl"
ARM = load().platform("aarch64")


def a_wheel(folder: Path, name: str = CCE, text: str = "AXOLOTL_CCE_FORK = 1\n") -> Path:
    """Write a wheel with the one file in it by which the fork is known."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("cut_cross_entropy/transformers/patch.py", text)
    return folder / name


def spec(tmp_path: Path) -> Spec:
    """The real spec in a folder of its own: nobody has brought anything into it."""
    room = tmp_path / "containers"
    room.mkdir(exist_ok=True)
    for name in ("images.toml", "seams.toml", "train.Dockerfile", "selftest.py", "seams.py"):
        (room / name).write_bytes((ROOM / name).read_bytes())
    return load(room / "images.toml")


def plan(of: Spec, **more: object) -> Plan:
    return replace(Plan("train", ARM, of.base_reference, ROOM / "locks" / "train", None, "podman"),
                   **more)  # fmt: skip


def test_each_recipe_s_needs_are_said_as_data() -> None:
    one = load().brought["cut-cross-entropy"]
    assert (one.image, one.needed, one.without) == ("train", True, "chunked-loss")
    assert re.fullmatch("[0-9a-f]{7,40}", one.commit)
    assert one.source.startswith("https://")
    assert not load().brought["xielu"].needed


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (CCE, "VERSION = 1\n", "is not the cut-cross-entropy that recipes need"),  # PyPI's
        (CCE.replace("any", "linux_x86_64"), "AXOLOTL_CCE_FORK", "does not run on aarch64"),
        ("cut_cross_entropy-new.whl", "AXOLOTL_CCE_FORK", "is no wheel's name"),
    ],
)  # fmt: skip
def test_another_wheel_is_refused(tmp_path: Path, name: str, text: str, says: str) -> None:
    a_wheel(tmp_path, name, text)
    with pytest.raises(KitError, match=says):
        brought.wheels(load(), "train", ARM, [tmp_path])


def test_a_cut_wheel_and_two_of_them_are_refused(tmp_path: Path) -> None:
    file = a_wheel(tmp_path)
    a_wheel(tmp_path, CCE.replace("25.5.2", "25.5.3"))
    with pytest.raises(KitError, match="there are 2 wheels of cut-cross-entropy"):
        brought.wheels(load(), "train", ARM, [tmp_path])
    (tmp_path / CCE.replace("25.5.2", "25.5.3")).unlink()
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(KitError, match="cannot be read"):
        brought.wheels(load(), "train", ARM, [tmp_path])


def test_a_training_image_without_it_is_refused_before_the_build(tmp_path: Path) -> None:
    of = spec(tmp_path)
    lock = lockfile.read(ROOM / "locks" / "train", of.platforms)
    with pytest.raises(KitError, match="nobody has brought its wheel") as error:
        builder._brought(of, plan(of), lock)
    for words in ("CutCrossEntropyPlugin", "--without cut-cross-entropy", "+chunked-loss"):
        assert words in str(error.value)
    [said] = builder._brought(of, plan(of, do_without=("cut-cross-entropy",)), lock)
    assert "as you asked" in said
    with pytest.raises(KitError, match="nothing that is brought is called 'cce'"):
        builder._brought(of, plan(of, do_without=("cce",)), lock)
    file = a_wheel(brought.folder(of))
    [said] = builder._brought(of, plan(of), lock)
    assert file.name in said
    assert "sha256:" in said
    # The evaluation image trains nothing.
    other = plan(of, name="eval", lock=ROOM / "locks" / "eval")
    assert builder._brought(of, other, lockfile.read(other.lock, of.platforms)) == []


def test_the_build_is_given_the_wheel_and_nothing_else_of_its_folder(tmp_path: Path) -> None:
    of = spec(tmp_path)
    a_wheel(brought.folder(of))
    (brought.folder(of) / "notes.txt").write_text("mine")
    carried = tmp_path / "carried"
    carried.mkdir()
    (carried / "click-8.0-py3-none-any.whl").write_text("x")
    for more, there in (
        ({}, {CCE}),
        ({"wheels": carried}, {CCE, "click-8.0-py3-none-any.whl"}),
        ({"do_without": ("cut-cross-entropy",)}, set()),
    ):
        builder.stage(of, plan(of, **more), tmp_path / "context")
        assert {f.name for f in (tmp_path / "context" / "wheels").iterdir()} == there
    assert (tmp_path / "context" / "seams.toml").is_file()


def test_its_sha256_stands_in_the_image_s_evidence(tmp_path: Path) -> None:
    of = spec(tmp_path)
    a_wheel(brought.folder(of))
    found = builder.wheels(of, plan(of))
    lock = lockfile.read(ROOM / "locks" / "train", of.platforms)
    source = {"commit": "c", "date": "2026-11-29T00:00:00Z", "epoch": 0, "clean": True}
    facts = evidence.Facts("train", ARM, of.base_reference, f"sha256:{'0' * 64}", "podman", {},
                           source, lock, "x", tuple(found))  # fmt: skip
    statement = evidence.provenance(facts)
    assert found[0].sha256 in statement
    assert brought.of_statement(statement, "x") == {"cut-cross-entropy": "25.5.2"}
    assert brought.of_statement(evidence.provenance(replace(facts, brought=())), "x") == {}
    with pytest.raises(KitError, match="no provenance"):
        brought.of_statement("{}", "x")
    parts = json.loads(evidence.sbom(facts, {}))["components"]
    [part] = [p for p in parts if p["name"] == "cut-cross-entropy"]
    assert part["hashes"][0]["content"] == found[0].sha256
    assert "no package index" in part["description"]


def test_an_image_holds_what_was_brought_and_no_more() -> None:
    seen = {n: Package(n, "1", "") for n in ("click", "cut-cross-entropy")}
    pins = {"click": lockfile.Pin("click", "1", ())}
    contents.hold_against(seen, pins, {"cut-cross-entropy": "1"})
    for given, says in (
        ({}, "is not in the lock"),
        ({"cut-cross-entropy": "2"}, "not 2"),
        ({"cut-cross-entropy": "1", "xielu": "1"}, "xielu is missing"),
    ):
        with pytest.raises(KitError, match=says):
            contents.hold_against(seen, pins, given)


def test_nothing_of_it_is_fetched_or_built() -> None:
    """The kit holds no line that takes code from a git repository."""
    files = [*ROOM.glob("*.Dockerfile"), *ROOM.glob("*.def"), *ROOM.glob("templates/*")]
    assert len(files) > 6
    for file in (*files, *(ROOM / "locks").rglob("*.txt")):
        assert "git+" not in file.read_text(), file
        assert "git clone" not in file.read_text(), file
    assert "cut_cross_entropy-*.whl" in (ROOM / "train.Dockerfile").read_text()
    assert "cut_cross_entropy" not in (ROOM / "eval.Dockerfile").read_text()
