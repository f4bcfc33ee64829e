"""Reading items: both row forms, the harness's samples, CSV, and every way a file can be bad."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks.items import Item, by_benchmark, read_items, write_items
from kit.errors import KitError


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_scores_and_answers_are_both_read(tmp_path: Path) -> None:
    scored = lines(tmp_path / "a.jsonl", {"benchmark": "medqa", "id": 7, "score": 0.25, "x": 1})
    (item,) = read_items(scored)
    assert (item.benchmark, item.id, item.score, item.extra) == ("medqa", "7", 0.25, {"x": 1})

    answered = lines(
        tmp_path / "b.jsonl",
        {"id": "1", "gold": "C", "answer": "c "},
        {"id": "2", "gold": "C", "answer": "B", "response": "B."},
        {"id": "3", "gold": "C", "answer": None},
    )
    right, wrong, unread = read_items(answered, "medqa")
    assert [i.score for i in (right, wrong, unread)] == [1.0, 0.0, 0.0]
    assert [i.unparsed for i in (right, wrong, unread)] == [False, False, True]


def test_a_null_score_is_missing_and_not_zero(tmp_path: Path) -> None:
    (item,) = read_items(lines(tmp_path / "a.jsonl", {"benchmark": "m", "id": "1", "score": None}))
    assert item.score is None


def test_rows_without_a_benchmark_say_which_flag_is_missing(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"id": "1", "gold": "A", "answer": "A"})
    with pytest.raises(KitError) as caught:
        read_items(path)
    assert "--benchmark NAME" in caught.value.fix
    assert caught.value.where.endswith("a.jsonl:1")


GOOD = b'{"benchmark": "m", "id": "1", "score": 1}\n'


@pytest.mark.parametrize(
    ("data", "line", "says"),
    [
        (b'{"benchmark": "m", "id": "1", "score": NaN}\n', 1, "NaN"),
        (b'{"benchmark": "m", "id": "1", "score": 1e999}\n', 1, "between 0 and 1"),
        (b'{"benchmark": "m", "id": "1", "score": 64.9}\n', 1, "between 0 and 1"),
        (b'{"benchmark": "m", "id": "1", "score": -0.1}\n', 1, "between 0 and 1"),
        (b'{"benchmark": "m", "id": "1", "score": "1"}\n', 1, "not a number"),
        (b'{"benchmark": "m", "id": "1"}\n', 1, "neither a score nor a gold answer"),
        (b'{"benchmark": "m", "id": "1", "answer": "A"}\n', 1, "neither a score"),
        (b'{"benchmark": "m", "score": 1}\n', 1, "no id"),
        (b'{"benchmark": "m", "id": true, "score": 1}\n', 1, "no id"),
        (b'{"benchmark": "m", "id": "1", "score": 1, "repeat": -1}\n', 1, "repeat"),
        (GOOD + b'{"benchmark": "m", "id": "2", "sc', 2, "cut off"),
        (GOOD + b"{nonsense}\n" + GOOD, 2, "not valid JSON"),
        (GOOD + b"[1, 2]\n", 2, "not a JSON object"),
        (GOOD + b'{"benchmark": "m", "id": "\xff", "score": 1}\n', 2, "not UTF-8"),
        (b"[" * 100_000 + b"\n", 1, "not valid JSON"),
    ],
)
def test_bad_lines_are_named_by_number(tmp_path: Path, data: bytes, line: int, says: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(data)
    with pytest.raises(KitError, match=says) as caught:
        read_items(path)
    assert caught.value.where == f"{path}:{line}"


def test_doubles_strangers_empty_and_missing_files(tmp_path: Path) -> None:
    row = {"benchmark": "m", "id": "1", "score": 1}
    with pytest.raises(KitError, match="twice"):
        read_items(lines(tmp_path / "twice.jsonl", row, row))
    repeated = lines(tmp_path / "repeat.jsonl", row, {**row, "repeat": 1})
    assert len(read_items(repeated)) == 2
    with pytest.raises(KitError, match="belongs to 'm', not to 'n'"):
        read_items(repeated, "n")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(KitError, match="empty"):
        read_items(tmp_path / "empty.jsonl")
    with pytest.raises(KitError, match="no file or folder"):
        read_items(tmp_path / "nowhere.jsonl")
    (tmp_path / "folder").mkdir()
    with pytest.raises(KitError, match="no file of items"):
        read_items(tmp_path / "folder")


def test_the_same_id_in_two_files_of_a_folder_is_found(tmp_path: Path) -> None:
    row = {"benchmark": "m", "id": "1", "score": 1}
    lines(tmp_path / "a.jsonl", row)
    lines(tmp_path / "b.jsonl", row)
    with pytest.raises(KitError, match="twice"):
        read_items(tmp_path)


def sample(number: int, **other: object) -> dict[str, object]:
    return {
        "doc_id": number,
        "doc": {"id": f"q{number}", "question": "?"},
        "target": "B",
        "arguments": {"gen_args_0": {"arg_0": "Which? A. x B. y", "arg_1": {"until": []}}},
        "resps": [["The answer is (B)"]],
        "filtered_resps": ["B"],
        "filter": "strict-final-answer",
        "metrics": ["exact_match"],
        "exact_match": 1.0,
        **other,
    }


def test_the_harness_samples_are_read(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "samples_medqa_g_2026-05-15T10-00-00.123456.jsonl",
        sample(0),
        sample(0, filter="flexible", exact_match=0.0),
        sample(1, filtered_resps=["[invalid]"], exact_match=0.0),
    )
    first, second = read_items(path)
    assert (first.benchmark, first.id, first.score, first.gold) == ("medqa", "q0", 1.0, "B")
    assert first.question == "Which? A. x B. y"
    assert first.response == "The answer is (B)"
    assert second.unparsed
    assert second.score == 0.0
    path.rename(tmp_path / "renamed.jsonl")
    with pytest.raises(KitError, match="which task"):
        read_items(tmp_path / "renamed.jsonl")
    assert read_items(tmp_path / "renamed.jsonl", "medqa")[0].benchmark == "medqa"


def test_unknown_filters_of_the_harness_are_not_guessed_at(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "samples_x_2026-05-15T10-00-00.1.jsonl",
        sample(0, filter="one"),
        sample(0, filter="other"),
    )
    with pytest.raises(KitError, match="2 filters"):
        read_items(path)


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,gold,answer,response\n1,A,A,"yes, A"\n2,A,,nothing\n', encoding="utf-8")
    one, two = read_items(path, "medqa")
    assert (one.score, one.response, two.score, two.unparsed) == (1.0, "yes, A", 0.0, True)
    path.write_text("benchmark,id,score\nm,1,0.5\nm,2,\n")
    assert [item.score for item in read_items(path)] == [0.5, None]
    path.write_text("benchmark,id,score\nm,1,nan\n")
    with pytest.raises(KitError, match="between 0 and 1"):
        read_items(path)
    path.write_text("benchmark,id,score\nm,1\n")
    with pytest.raises(KitError, match="more or fewer fields"):
        read_items(path)
    path.write_text("name,score\nm,1\n")
    with pytest.raises(KitError, match='no column "id"'):
        read_items(path)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9),
            st.one_of(st.none(), st.floats(0, 1)),
            st.integers(0, 3),
            st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=30)),
        ),
        min_size=1,
        unique_by=lambda t: (t[0], t[1], t[3]),
    )
)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, float, int, str]]
) -> None:
    path = tmp_path_factory.mktemp("round") / "items.jsonl"
    items = [Item(b, i, s, r, response=t, unparsed=s == 0) for b, i, s, r, t in rows]
    write_items(path, items)
    assert read_items(path) == items
    assert sum(map(len, by_benchmark(items).values())) == len(items)


@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_give_items_or_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    for name in ("x.jsonl", "x.csv"):
        (folder / name).write_bytes(data)
        try:
            read_items(folder / name, "m")
        except KitError as error:
            assert error.where


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    write_items(path, [Item("m", "1", 1.0)])
    with pytest.raises(ValueError, match="JSON"):
        write_items(path, [Item("m", "1", float("nan"))])
    assert read_items(path)[0].score == 1.0
    assert [p.name for p in tmp_path.iterdir()] == ["items.jsonl"]
