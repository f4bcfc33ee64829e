"""MedQuAD's XML: pairs with an answer become rows, the others are counted; choices are decided."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from standin_files import git_mirror

from corpus import medquad, sources
from corpus.fetch import Wanted, fetch
from corpus.origins import Folder, GitUrl
from corpus.prepare import prepare
from corpus.store import Repo, Store
from kit.errors import KitError

FILE = """<?xml version="1.0" encoding="UTF-8"?>
<Document id="{n}" source="Own"><Focus>Subject {n}</Focus><QAPairs>
<QAPair pid="1"><Question qid="{n}-1" qtype="information">What is (are) Subject {n} ?</Question>
<Answer>Subject {n} is an invented thing.
                  It has   two lines &amp; a sign.

</Answer></QAPair>
<QAPair pid="2"><Question qid="{n}-2" qtype="causes">What causes it ?</Question><Answer></Answer>
</QAPair></QAPairs></Document>"""
SPEC = """
[corpus]
repository = "own/er"
kind = "github"
revision = "{commit}"
[components.plain]
path = "[1]_*/*.xml"
reader = "medquad"
rows = 40
[components.choice]
path = "[1]_*/*.xml"
reader = "medquad-choice"
"""


def folder(root: Path, count: int = 40) -> list[Path]:
    place = root / "1_Own_QA"
    place.mkdir(parents=True)
    for n in range(count):
        (place / f"{n:03}.xml").write_text(FILE.format(n=n))
    return sorted(place.iterdir())


def test_a_pair_with_an_answer_is_a_row_and_one_without_is_none(tmp_path: Path) -> None:
    files = folder(tmp_path, 4)
    rows = [row for _, row in medquad.read("medquad", files)]
    assert [row is None for row in rows] == [False, True] * 4
    assert rows[0] == {
        "id": "1_Own_QA/0-1",
        "conversations": [
            {"from": "human", "value": "What is (are) Subject 0 ?"},
            {
                "from": "gpt",
                "value": "Subject 0 is an invented thing.\nIt has   two lines & a sign.",
            },
        ],
    }
    assert medquad.count(files[0]) == 1


def test_a_choice_has_its_own_subject_under_the_letter_that_is_named(tmp_path: Path) -> None:
    files = folder(tmp_path)
    rows = [row for _, row in medquad.read("medquad-choice", files) if row]
    letters = Counter()
    for row in rows:
        asked, said = (turn["value"] for turn in row["conversations"])
        letter = re.fullmatch(r"Final Answer: \(([ABCD])\)", said)
        assert letter
        listed = dict(re.findall(r"^([ABCD])\. (.+)$", asked, re.MULTILINE))
        number = row["id"].partition("/")[2].partition("-")[0]
        assert listed[letter[1]] == f"Subject {number}"
        assert len(set(listed.values())) == 4
        letters[letter[1]] += 1
    assert set(letters) == set("ABCD"), "the place of the right one is drawn"
    assert rows == [row for _, row in medquad.read("medquad-choice", files) if row], (
        "the same again"
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [(FILE[:200], "no file of MedQuAD"), (FILE.replace("What causes it ?", " "), "no question")],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "x.xml"
    file.write_text(text)
    with pytest.raises(KitError, match=says) as error:
        medquad.pairs(file)
    assert str(file) in error.value.where


def test_too_few_subjects_for_a_choice(tmp_path: Path) -> None:
    with pytest.raises(KitError, match="needs 4 subjects"):
        list(medquad.read("medquad-choice", folder(tmp_path, 3)))


@pytest.mark.parametrize("how", ["folder", "url"])
def test_a_folder_of_a_repository_is_fetched_by_its_pattern_and_prepared(
    tmp_path: Path, how: str
) -> None:
    files = {f"1_Own_QA/{p.name}": p.read_bytes() for p in folder(tmp_path / "made")}
    commit = git_mirror(tmp_path / "git", "own/er", {**files, "2_Other/x.xml": b"x"})
    origin = Folder(tmp_path / "git") if how == "folder" else GitUrl((tmp_path / "git").as_uri())
    store = Store(tmp_path / "cache")
    wanted = Wanted(Repo("github", "own/er"), commit, ("[1]_*/*.xml",), "corpus")
    assert len(fetch([wanted], store, [origin])) == 40
    assert not fetch([wanted], store, [])[0].brought, "a second time nothing is asked for"
    spec = tmp_path / "corpus.toml"
    spec.write_text(SPEC.format(commit=commit))
    found = sources.load(spec, cache=store.cache)
    summary = prepare(spec, tmp_path, found=found)
    assert summary["counts"][0].endswith("40 rows, as published; 40 without an answer left out")
    assert len([json.loads(line) for line in (tmp_path / "train.jsonl").open()]) == 80
    spec.write_text(SPEC.format(commit=commit).replace('"medquad"', '"medquid"'))
    with pytest.raises(KitError, match="reader takes medquad or medquad-choice, not 'medquid'"):
        sources.load(spec, cache=store.cache)
