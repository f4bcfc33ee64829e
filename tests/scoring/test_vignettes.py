"""Auto-MOOVE's file by upstream's rule: which rows are one pair, whose votes count, which forms."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from checks.preferences import Vote
from kit.errors import KitError
from scoring.vignettes import Reading, read_vignettes

BOTH = {"firstAnswer": "x", "secondAnswer": "y"}


def written(tmp_path: Path, rows: list[Any]) -> Path:
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def read(tmp_path: Path, *rows: Any) -> Reading:
    return read_vignettes(written(tmp_path, list(rows)))


def parent(value: Any) -> dict[str, Any]:
    return {"parentContribution": {"value": value}}


def test_rows_of_one_parent_are_one_pair_whatever_their_own_ids(tmp_path: Path) -> None:
    found = read(tmp_path, {"id": 1, "question": "A?", **parent("p/1")},
                 {"id": 2, "question": "A again?", **parent("p/1")},
                 {"id": 1, "question": "B?", **parent("p/2")})  # fmt: skip
    assert [(v.id, v.prompt) for v in found.vignettes] == [("p/1", "A?"), ("p/2", "B?")]
    assert (found.rows, found.repeated) == (3, 1)


def test_without_a_parent_question_and_answers_are_the_pair(tmp_path: Path) -> None:
    found = read(tmp_path, {"question": "A?", **BOTH}, {"question": "A?", **BOTH, "id": "other"},
                 {"question": "A?", **BOTH, "secondAnswer": "z"}, {"prompt": "A?", **parent("")},
                 {"prompt": "A?", "parentContribution": "no object"})  # fmt: skip
    # Upstream's key, so that a pair has the same name in its results and in ours.
    name = hashlib.md5(b"A?xy", usedforsecurity=False).hexdigest()
    assert found.vignettes[0].id == name
    assert (len(found.vignettes), found.repeated) == (3, 2)


def test_a_row_is_called_by_its_id_where_that_tells_it_from_others(tmp_path: Path) -> None:
    found = read(tmp_path, {"id": 7, "prompt": "A?"}, {"id": 7, "prompt": "B?"},
                 {"id": "p", "prompt": "C?"}, {"prompt": "D?", **parent("p")})  # fmt: skip
    ids = [v.id for v in found.vignettes]
    assert (ids[0], ids[2], len(set(ids))) == ("7", "p", 4)


def test_every_raters_vote_of_a_pair_is_kept(tmp_path: Path) -> None:
    votes = [("u/ann", "1"), ("u/bob", 12), ("u/ann", "2"), (None, "1")]
    rows = [{"question": "A?", **BOTH, **parent("p"), "vote": vote,
             "user": {"value": user} if user else None} for user, vote in votes]  # fmt: skip
    found = read(tmp_path, *rows)
    assert found.vignettes[0].votes == (
        Vote("first", "1"), Vote("tie", "2"), Vote("second", "1"), Vote("first", ""),
    )  # fmt: skip
    assert (found.votes, found.raters) == (4, 2)
    assert found.words() == "1 vignettes of 4 rows, 4 votes of 2 people; 3 rows repeat a pair"
    assert "u/ann" not in repr(found), "who voted stays in the file"


def test_what_upstream_passes_over_is_passed_over_and_counted(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {"question": "A?", **BOTH, "vote": "3"},
        {"question": "B?", **BOTH, "vote": ""},
        {"question": "C?", **BOTH, "vote": True},
        {"question": "D?", "firstAnswer": "x", "secondAnswer": "", "vote": "1"},
        {"question": "E?", "firstAnswer": "x", "vote": "12"},
        {"question": "  ", **BOTH, "vote": "1"},
        {"question": None},
        {},
    )
    assert found.counts() == {
        "vignettes": 5, "votes": 0, "rows": 8, "repeated": 0, "without_question": 3,
        "unknown_votes": 2, "votes_without_answers": 2, "raters": 0,
    }  # fmt: skip
    said = found.words()
    for words in ("5 vignettes of 8 rows", "3 rows without a question passed over",
                  "2 unknown votes ignored", "2 votes without two answers ignored"):  # fmt: skip
        assert words in said
    assert [v.answers for v in found.vignettes] == [("x", "y")] * 3 + [None] * 2


def test_the_answers_are_those_that_were_voted_on(tmp_path: Path) -> None:
    found = read(tmp_path, {"question": "A?", "firstAnswer": "a", "secondAnswer": "b", **parent(1)},
                 {"question": "A?", "vote": "1", **BOTH, **parent(1)})  # fmt: skip
    assert found.vignettes[0].answers == ("x", "y")


ROWS = {"c1": {"question": "A?", **BOTH, "vote": "1"}, "c2": {"question": "B?"}}


@pytest.mark.parametrize("form", ["lines", "one object", "an object printed wide", "wrapped lines"])
def test_every_form_that_upstream_describes_is_read(tmp_path: Path, form: str) -> None:
    path = tmp_path / "moove.json"
    path.write_text({
        "lines": "\n".join(json.dumps({"id": k, **v}) for k, v in ROWS.items()),
        "one object": json.dumps(ROWS),
        "an object printed wide": json.dumps(ROWS, indent=2),
        "wrapped lines": "\n".join(json.dumps({k: v}) for k, v in ROWS.items()),
    }[form])  # fmt: skip
    found = read_vignettes(path)
    assert [(v.id, v.prompt, len(v.votes)) for v in found.vignettes] == [
        ("c1", "A?", 1), ("c2", "B?", 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": ["A"]}, r"prompt is \['A'\], not text"),
        ({"prompt": "A?", "firstAnswer": 3}, "firstAnswer is 3, not text"),
        ({"prompt": "A?", "id": ["x"]}, r"id is \['x'\], not text"),
        ({"prompt": "A?", **parent({"deep": 1})}, "parentContribution.value is"),
        ({"prompt": "A?", **parent(True)}, "parentContribution.value is True"),
    ],
)
def test_what_is_no_text_is_refused_by_its_row(
    tmp_path: Path, row: dict[str, Any], said: str
) -> None:
    path = written(tmp_path, [{"prompt": "first"}, row])
    with pytest.raises(KitError, match=said) as caught:
        read_vignettes(path)
    assert caught.value.where == f"{path}:2"
    path.write_text(json.dumps({"a": {"prompt": "first"}, "b": row}))
    with pytest.raises(KitError, match=said) as caught:
        read_vignettes(path)
    assert caught.value.where == f"{path}, 'b'"


@pytest.mark.parametrize("text", ["", "{}", "[]", '[{"prompt": "A?"}]', '{"a": 1}', "nonsense",
                                  '{"question": ""}\n', '{"a": {"prompt": "A?"},\n'])  # fmt: skip
def test_a_file_without_a_vignette_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(text)
    with pytest.raises(KitError) as caught:
        read_vignettes(path)
    assert str(path) in str(caught.value.where)
    with pytest.raises(KitError, match="cannot be read"):
        read_vignettes(tmp_path / "nowhere")


ROW = st.fixed_dictionaries(
    {},
    optional={
        "question": st.sampled_from(["A?", "B?", "", None]),
        "firstAnswer": st.sampled_from(["x", "", None]),
        "secondAnswer": st.sampled_from(["y", None]),
        "vote": st.sampled_from(["1", 2, "12", "3", None]),
        "user": st.sampled_from([{"value": "u"}, {"value": None}, None]),
        "parentContribution": st.sampled_from([{"value": "p"}, {}, None]),
        "id": st.sampled_from([1, "1", "a", None]),
    },
)


@example([{"user": {"value": "u"}, "parentContribution": {"value": "p"}}])
@given(st.lists(ROW, max_size=12))
def test_no_row_is_lost_and_none_counts_twice(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any]
) -> None:
    rows = [{"question": "first"}, *rows]
    found = read(tmp_path_factory.mktemp("m"), *rows)
    pairs = len(found.vignettes)
    assert found.rows == len(rows) == pairs + found.repeated + found.without_question
    assert len({v.id for v in found.vignettes}) == pairs
    asked = [r for r in rows if r.get("question")]
    cast = sum(r.get("vote") is not None for r in asked)
    assert found.votes + found.unknown_votes + found.votes_without_answers == cast
    assert all(v.answers for v in found.vignettes if v.votes)
