"""Rows against the published ones: what is known explains a difference, all else is refused."""

import json
from pathlib import Path

import pytest

from corpus import sources
from corpus.counts import Other, Published, account
from corpus.prepare import prepare
from kit.errors import KitError

SPEC = Path(__file__).parents[2] / "recipes" / "corpus.toml"
ABOUT = Published(rows=3, note="known", also=(Other(rows=5, why="two were taken out"),))


def test_a_count_is_explained_or_not() -> None:
    assert str(account("c", 3, ABOUT)) == "c: 3 rows, as published: known"
    other = account("c", 5, ABOUT)
    assert other.explained
    assert str(other) == "c: 5 rows, published 3, +2: two were taken out"
    odd = account("c", 4, ABOUT)
    assert not odd.explained
    assert "nothing that is known explains it" in str(odd)
    assert str(account("c", 4, Published())) == "c: 4 rows"


def test_the_published_corpus_accounts_for_upstreams_removals() -> None:
    parts = sources.read_spec(SPEC).components
    assert sum(part.rows or 0 for part in parts.values()) == 601_346
    for name, before, after in (("curated_qa", 216_546 + 173, 216_546),
                                ("synthetic_moove", 24_465, 24_465 - 78)):  # fmt: skip
        for rows in (before, after):
            count = account(name, rows, parts[name])
            assert count.explained
            assert str(abs(before - after)) in count.why


def test_preparing_takes_what_is_explained_and_says_so(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]
    row = json.dumps({"conversations": turns}) + "\n"
    spec = tmp_path / "corpus.toml"
    head = '[components.c]\npath = "c.jsonl"\nrows = 3\n'
    spec.write_text(head + 'also = [{rows = 5, why = "two were taken out"}]\n')
    (tmp_path / "c.jsonl").write_text(row * 5)
    assert prepare(spec, tmp_path)["counts"] == ["c: 5 rows, published 3, +2: two were taken out"]
    (tmp_path / "c.jsonl").write_text(row * 4)
    with pytest.raises(KitError, match="has 4 rows, 3 are expected"):
        prepare(spec, tmp_path)
    for wrong, says in (
        ("also = 3", r"components.c.also takes a list, not 3"),
        ("also = [{rows = 5}]", r"also\[0\].why is missing"),
        ('also = [{rows = "5", why = "x"}]', r"also\[0\].rows takes a whole number >= 0, not '5'"),
    ):
        spec.write_text(f"{head}{wrong}\n")
        with pytest.raises(KitError, match=says):
            prepare(spec, tmp_path)
