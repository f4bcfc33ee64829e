"""What a file may say: each kind of fault is refused in words, and nothing else ever comes out."""

import copy
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import KitError
from kit.schema import UNSET, Amount, Commit, Count, Maybe, Table, closed, convert, names


class Leaf(Table, frozen=True):
    width: Count = 0
    share: Amount = 0.0
    on: bool = False
    way: Literal["fast", "slow", ""] = "fast"


class Branch(Table, frozen=True):
    leaf: Leaf = Leaf()
    commit: Maybe[Commit] = UNSET
    pairs: tuple[tuple[Count, Amount], ...] = ()


class Tree(Table, frozen=True):
    title: str
    branch: Branch = Branch()
    named: dict[str, Leaf] = msgspec.field(default_factory=dict)
    sums: Maybe[str | dict[str, str]] = UNSET


GOOD: dict[str, Any] = {
    "title": "t",
    "branch": {
        "leaf": {"width": 3, "share": 1, "on": True, "way": "slow"},
        "commit": "a" * 40,
        "pairs": [[1, 2.0], [3, 4]],
    },
    "named": {"one": {"width": 1}, "two": {}},
    "sums": {"a": "b"},
}


def refused(data: object) -> str:
    with pytest.raises(KitError) as caught:
        convert(data, Tree, where="tree.toml", what="the tree", fix="plant it")
    assert (caught.value.where, caught.value.fix) == ("tree.toml", "plant it")
    return caught.value.what


def with_(path: str, value: object) -> dict[str, Any]:
    data = copy.deepcopy(GOOD)
    place: Any = data
    *tables, leaf = path.split("/")
    for table in tables:
        place = place[int(table) if isinstance(place, list) else table]
    place[int(leaf) if isinstance(place, list) else leaf] = value
    return data


def test_what_is_right_comes_out_typed() -> None:
    tree = convert(GOOD, Tree, where="", what="")
    assert (tree.branch.leaf.share, tree.named["one"].width) == (1.0, 1)
    assert tree.branch.pairs == ((1, 2.0), (3, 4.0))
    assert convert({"title": "x"}, Tree, where="", what="").sums is UNSET


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("branch/leaf/widht", 1, "unknown key 'branch.leaf.widht'; nearest: branch.leaf.width"),
        ("named/two/onn", 1, "unknown key 'named.two.onn'; nearest: named.two.on"),
        ("brunch", {}, "unknown key 'brunch'; nearest: branch"),
        ("title", 3, "title takes text, not 3"),
        ("branch/leaf", [], "branch.leaf takes a table, not []"),
        ("branch/leaf/width", True, "branch.leaf.width takes a whole number >= 0, not True"),
        ("branch/leaf/width", 1.0, "branch.leaf.width takes a whole number >= 0, not 1.0"),
        ("branch/leaf/width", -1, "branch.leaf.width takes a whole number >= 0, not -1"),
        ("branch/leaf/share", math.nan, "branch.leaf.share takes a number >= 0, not nan"),
        ("branch/leaf/on", 1, "branch.leaf.on takes true or false, not 1"),
        ("branch/leaf/way", "slw",
         "branch.leaf.way takes fast, slow or \"\", not 'slw'; nearest: slow"),
        ("branch/leaf/way", 3, 'branch.leaf.way takes fast, slow or "", not 3'),
        ("branch/commit", "main",
         "branch.commit takes a commit, 40 hexadecimal digits, not 'main'"),
        ("branch/pairs/1", [3], "branch.pairs[1] takes [a whole number >= 0, a number >= 0], "
         "not [3]"),
        ("branch/pairs/1/1", "x", "branch.pairs[1][1] takes a number >= 0, not 'x'"),
        ("branch/pairs", 3, "branch.pairs takes a list, not 3"),
        ("named/one/width", "x", "named.one.width takes a whole number >= 0, not 'x'"),
        ("sums/a", 3, "sums.a takes text, not 3"),
        ("sums", 3, "sums takes text or a table, not 3"),
    ],
)  # fmt: skip
def test_each_kind_of_fault_names_its_key(path: str, value: object, says: str) -> None:
    assert refused(with_(path, value)) == says


def test_a_missing_key_and_a_file_that_is_no_table() -> None:
    assert refused({}) == "title is missing; it takes text"
    assert refused([1]) == "the tree takes a table, not [1]"
    assert len(refused(with_("title", list(range(1000))))) < 120


def test_a_mistyped_key_may_have_meant_one_of_the_table_beside() -> None:
    class Two(Table, frozen=True):
        a: Leaf = Leaf()
        b: Branch = Branch()

    with pytest.raises(KitError, match=r"nearest: b\.commit"):
        convert({"a": {"commit": "x"}}, Two, where="", what="")
    assert names(Two) == ["a.width", "a.share", "a.on", "a.way", "b.leaf.width", "b.leaf.share",
                          "b.leaf.on", "b.leaf.way", "b.commit", "b.pairs"]  # fmt: skip


def test_a_dataclass_is_closed_and_takes_no_number_below_0() -> None:
    @dataclass(frozen=True)
    class Plain:
        nodes: int = 1
        way: Literal["a", "b"] = "a"
        more: list[str] = field(default_factory=list)

    kind = closed(Plain)
    assert convert({"nodes": 2}, kind, where="", what="").more == []
    for data, says in (({"nods": 2}, "nearest: nodes"), ({"nodes": -1}, ">= 0"),
                       ({"way": "c"}, "way takes a or b")):  # fmt: skip
        with pytest.raises(KitError, match=says):
            convert(data, kind, where="", what="")


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = data.items() if isinstance(data, dict) else enumerate(data)
    below = [places(v, (*path, k)) for k, v in inner if isinstance(v, (dict, list))]
    keys = data if isinstance(data, dict) else range(len(data))
    return [(*path, k) for k in keys] + [p for one in below for p in one]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@given(st.sampled_from(places(GOOD)), VALUES, st.sampled_from(["set", "drop", "add"]), st.text())
def test_any_mutation_is_refused_in_words_or_changes_no_other_value(
    path: tuple[Any, ...], value: Any, how: str, name: str
) -> None:
    data = copy.deepcopy(GOOD)
    place: Any = data
    for key in path[:-1]:
        place = place[key]
    if how == "set":
        place[path[-1]] = value
    elif how == "drop":
        del place[path[-1]]
    elif isinstance(place, dict):
        place[name] = value
    try:
        tree = convert(data, Tree, where="x", what="the tree")
    except KitError as error:
        assert "msgspec" not in str(error)
        assert "at `$" not in str(error), "msgspec's own words"
        return
    assert tree.title == data["title"]
    assert set(tree.named) == set(data.get("named", {}))
