"""Rows of either shape become one training file; a bad row is named, nothing is half written."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus import sources
from corpus.prepare import prepare
from corpus.rows import RowError, normalise
from corpus.store import Repo, Store
from kit.errors import KitError

GOOD = {
    "id": "a",
    "conversations": [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": "A."}],
}
TEXT = st.text(min_size=1).filter(lambda t: t.strip())


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXT), max_size=5))
def test_both_shapes_give_the_same_row(turns: list[tuple[str, str]]) -> None:
    turns = [("user", "q"), ("assistant", "a"), *turns]
    older = {"user": "human", "assistant": "gpt", "system": "system"}
    one = {"id": 1, "messages": [{"role": r, "content": t} for r, t in turns]}
    two = {"id": 1, "conversations": [{"from": older[r], "value": t} for r, t in turns]}
    # A parquet row has both columns, one of them null.
    three = {**two, "messages": None}
    assert normalise(one) == normalise(two) == normalise(three)
    assert [t for _, t in normalise(one).turns] == [t for _, t in turns]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"id": "a"}, "no turns"),
        ({"conversations": []}, "is empty"),
        ({"conversations": "text"}, "no turns"),
        ({"conversations": ["text"]}, "turn 1 is not an object"),
        ({"conversations": [{"from": "robot", "value": "x"}]}, "unknown role 'robot'"),
        ({"conversations": [{"from": "human", "value": " "}]}, "empty text"),
        ({"conversations": [{"from": "human", "value": None}]}, "empty text"),
        ({"conversations": [{"from": "human", "value": "Q"}]}, "no assistant turn"),
        ({"conversations": [{"from": "gpt", "value": "A"}]}, "no user turn"),
        ([1], "not list"),
    ],
)
def test_a_row_that_cannot_be_trained_on_says_why(row: object, says: str) -> None:
    with pytest.raises(RowError, match=says):
        normalise(row)


def test_a_corpus_file_with_components(tmp_path: Path) -> None:
    lines(tmp_path / "one.jsonl", GOOD, {**GOOD, "id": "b"})
    lines(tmp_path / "two.jsonl", {**GOOD, "id": None})
    spec = tmp_path / "corpus.toml"
    spec.write_text(
        '[components.one]\npath="one.jsonl"\nrows=2\n[components.two]\npath="two.jsonl"\n'
    )
    summary = prepare(spec, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").open()]
    assert [r["id"] for r in rows] == ["one/a", "one/b", "two/1"]
    assert summary["rows"] == 3
    assert summary["components"]["one"]["turns"] == 4
    assert {r["component"] for r in rows} == {"one", "two"}


def test_repeated_ids_are_counted_and_told_apart(tmp_path: Path) -> None:
    summary = prepare(lines(tmp_path / "c.jsonl", GOOD, GOOD), tmp_path)
    ids = [json.loads(line)["id"] for line in (tmp_path / "train.jsonl").open()]
    assert ids == ["c/a", "c/a#2"]
    assert summary["repeated_ids"] == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"conversations": [\n', "line 1 is not valid JSON"),
        (json.dumps(GOOD).encode() + b'\n{"id": "b", "conv', "line 2 is cut off"),
        (json.dumps(GOOD).encode() + b'\n{"id": "\xff"}\n', "line 2 is not UTF-8"),
        (b"", "is empty"),
        (json.dumps(GOOD).encode() + b"\n" + b'{"id": 3}\n' * 9, "9 of 10 rows"),
    ],
)
def test_a_broken_file_is_named_and_leaves_nothing(
    tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "c.jsonl").write_bytes(content)
    with pytest.raises(KitError, match=says):
        prepare(tmp_path / "c.jsonl", tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.jsonl"]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ('[components.a]\npath="none*.jsonl"\n', "no files"),
        ('[components.a]\npath="c.jsonl"\nrows=5\n', "1 rows, 5 are expected"),
        ('[components.a]\npath="c.jsonl"\nsha256="00"\n', "not the file that was pinned"),
        ('[components.a]\npth="c.jsonl"\n', "unknown key 'components.a.pth'.*path"),
        ("[corpus]\n", "lists no"),
        ("components\n", "corpus file is not valid TOML.*line 1"),
        ("components\n", "not valid TOML"),
    ],
)
def test_a_wrong_corpus_file_is_named(tmp_path: Path, spec: str, says: str) -> None:
    lines(tmp_path / "c.jsonl", GOOD)
    (tmp_path / "corpus.toml").write_text(spec)
    with pytest.raises(KitError, match=says):
        prepare(tmp_path / "corpus.toml", tmp_path)
    assert not (tmp_path / "train.jsonl").exists()


def test_parquet_with_both_columns(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    rows = [
        {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
    ]
    pq.write_table(pa.Table.from_pylist(rows * 3), tmp_path / "c.parquet")
    assert prepare(tmp_path / "c.parquet", tmp_path)["rows"] == 3
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "c.parquet").read_bytes()[:-20])
    with pytest.raises(KitError, match="not a whole parquet"):
        prepare(tmp_path / "cut.parquet", tmp_path)


def test_a_data_set_of_the_hub_is_read_from_the_cache_alone(tmp_path: Path) -> None:
    commit, repo, store = "f" * 40, Repo("dataset", "org/corpus"), Store(tmp_path / "cache")
    folder = store.snapshot(repo, commit) / "data" / "one"
    folder.mkdir(parents=True)
    file = lines(folder / "train-0.jsonl", GOOD)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    known = {"data/one/train-0.jsonl": {"sha256": sha256, "by": "hub"}}
    store.note(repo, commit, known, ["data/one/*.jsonl"])
    spec = tmp_path / "corpus.toml"
    text = '[corpus]\nrepository="org/corpus"\nrevision="{}"\n'
    text += '[components.one]\npath="data/one/*.jsonl"\n'
    spec.write_text(text.format(commit))
    assert sources.load(spec, cache=store.cache)[0].files == (file,)
    spec.write_text(text.format("main"))  # a run reads the commit that it was frozen with
    assert sources.load(spec, cache=store.cache, revision=commit)[0].files == (file,)
    with pytest.raises(KitError, match="has not been fetched") as error:
        sources.load(spec, cache=store.cache)
    assert "mfo fetch" in error.value.fix
    # Two pinned files, of which one is gone, or another than was pinned.
    pinned = text.format(commit) + f'sha256 = {{"data/one/train-0.jsonl" = "{sha256}"'
    spec.write_text(pinned + "}\n")
    assert sources.load(spec, cache=store.cache)
    spec.write_text(pinned + f', "data/one/train-1.jsonl" = "{sha256}"}}\n')
    with pytest.raises(KitError, match=r"train-1\.jsonl is missing"):
        sources.load(spec, cache=store.cache)
    spec.write_text(pinned.replace(sha256, "0" * 64) + "}\n")
    with pytest.raises(KitError, match="not the file that was pinned"):
        sources.load(spec, cache=store.cache)
