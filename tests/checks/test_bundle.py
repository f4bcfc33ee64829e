"""Bundles as hostile input: whatever is inside, the answer is a judgement or one clear error."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.archive import pack, unpack
from checks.bundle import check_bundle, compare, make_bundle
from checks.items import Item
from checks.tables import load_table
from checks.verdict import judge
from kit.errors import KitError

TABLE = '[table]\nsource = "x"\n[benchmarks.m]\nitems = 40\nmargin = 20.0\n[models.s]\nm = 75.0\n'
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    table = tmp_path_factory.mktemp("table") / "t.toml"
    table.write_text(TABLE)
    items = [Item("m", str(i), float(i < 30)) for i in range(40)]
    case: dict[str, Any] = {"model": "s", "benchmarks": ["m"], "tier": "retrain"}
    case["planned"] = {"m": {"items": 40, "of": 40, "sha256": "b" * 64, "why": ""}}
    verdict = judge(items={"m": items}, table=load_table(table), **case)
    return {
        "verdict.json": json.dumps(verdict).encode(),
        "case.json": json.dumps(case).encode(),
        "table.toml": TABLE.encode(),
        "items/m.jsonl": b"".join(json.dumps(i.row()).encode() + b"\n" for i in items),
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles") / "x.tar.gz"


def sealed(path: Path, members: dict[str, bytes]) -> Path:
    """Write a bundle whose manifest fits, whatever is inside."""
    listed = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        for name, data in members.items()
    }
    manifest = {"format": "mfo-bundle", "version": 1, "redacted": 0, "members": listed}
    path.write_bytes(pack({"manifest.json": json.dumps(manifest).encode(), **members}))
    return path


def test_round_trip_and_the_same_bytes_twice(place: Path, members: dict[str, bytes]) -> None:
    digest = make_bundle(place, members)
    first = place.read_bytes()
    assert make_bundle(place, dict(reversed(members.items()))) == digest
    assert place.read_bytes() == first
    assert hashlib.sha256(first).hexdigest() == digest
    checked = check_bundle(place)
    assert checked.differences == ()
    assert checked.verdict["verdict"] == "reproduced"


@pytest.mark.parametrize("name", ["verdict.json", "case.json", "table.toml", "items/m.jsonl"])
def test_nothing_that_is_needed_may_be_missing(
    place: Path, members: dict[str, bytes], name: str
) -> None:
    rest = {k: v for k, v in members.items() if k != name}
    try:
        found = check_bundle(sealed(place, rest)).differences
    except KitError:
        return
    assert found, "items that are not there make another verdict"


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["verdict", "tier", "benchmarks", "averages", "table", "loss",
                        "provenance", "model", "exit_code"]), JSON)  # fmt: skip
def test_any_verdict_inside_is_compared_or_refused(
    place: Path, members: dict[str, bytes], key: str, value: Any
) -> None:
    claimed = json.loads(members["verdict.json"])
    was = claimed[key]
    claimed[key] = value
    changed = {**members, "verdict.json": json.dumps(claimed).encode()}
    try:
        checked = check_bundle(sealed(place, changed))
    except KitError:
        return
    near = isinstance(value, int | float) and isinstance(was, int) and abs(value - was) <= 1e-3
    if key not in ("loss", "provenance") and value != was and not near:
        assert checked.differences
    assert checked.verdict["verdict"] == "reproduced", "the derived one does not believe it"


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["model", "benchmarks", "tier", "planned", "allow_partial", "x"]), JSON)
def test_any_case_inside_is_judged_or_refused(
    place: Path, members: dict[str, bytes], key: str, value: Any
) -> None:
    case = {**json.loads(members["case.json"]), key: value}
    try:
        check_bundle(sealed(place, {**members, "case.json": json.dumps(case).encode()}))
    except KitError as error:
        assert "Error" not in error.what


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["items", "of", "why", "sha256", "ids"]), JSON | st.just(10**400))
def test_any_plan_inside_is_judged_or_refused(
    place: Path, members: dict[str, bytes], key: str, value: Any
) -> None:
    case = json.loads(members["case.json"])
    case["planned"]["m"][key] = value
    try:
        check_bundle(sealed(place, {**members, "case.json": json.dumps(case).encode()}))
    except KitError as error:
        assert error.fix


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("items = 40", f"items = {10**400}").replace("margin = 20.0", ""),
        lambda text: text.replace("[models.s]", '[models."\\u001b[2J"]'),
        lambda text: text.replace("margin", '"\\u001b[2J"'),
        lambda text: text.replace("m = 75.0", "m = 1e999"),
        lambda _: "[" * 50_000,
    ],
)
def test_a_table_that_means_harm_is_one_clean_error(
    place: Path, members: dict[str, bytes], change: Callable[[str], str]
) -> None:
    bad = {**members, "table.toml": change(TABLE).encode()}
    # What is planned would stand in for the table's number of items.
    with pytest.raises(KitError) as caught:
        check_bundle(sealed(place, bad))
    assert "\x1b" not in str(caught.value)


def test_names_in_a_manifest_do_not_steer_the_terminal(
    place: Path, members: dict[str, bytes]
) -> None:
    inside = unpack(sealed(place, members))
    manifest = json.loads(inside["manifest.json"])
    manifest["members"]["\x1b[2J"] = {}
    place.write_bytes(pack({**inside, "manifest.json": json.dumps(manifest).encode()}))
    with pytest.raises(KitError, match="is missing") as caught:
        check_bundle(place)
    assert "\x1b" not in str(caught.value)


def test_numbers_agree_within_rounding_and_words_need_not() -> None:
    left = {"a": 1.0, "reason": "x", "rows": [{"benchmark": "m", "n": 5, "k": None}]}
    assert compare(left, {**left, "a": 1.0004, "reason": "y"}) == []
    assert compare(left, {**left, "a": 1.01})
    assert compare(left, {**left, "a": "1.0"})
    assert compare(left, {**left, "rows": []})
    assert compare({**left, "a": True}, {**left, "a": 1})
    assert compare({**left, "a": 10**400}, left)
    assert compare({**left, "new": None}, left) == []
    found = compare({**left, "rows": [{"benchmark": "m", "n": 6, "k": None}]}, left)
    assert found == ["rows[m].n: the bundle says 6, its items give 5"]
