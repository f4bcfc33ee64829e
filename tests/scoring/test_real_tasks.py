"""Upstream's real task files of both dates, on the benchmarks' real items."""

import hashlib
import tomllib
from pathlib import Path

import pytest
import yaml
from real_files import real_files
from standin_tasks import OWN, task_files

from scoring import pinned
from scoring.mcq import BENCHMARKS, Question, read_benchmark

PINS = tomllib.loads(
    (Path(__file__).parents[2] / "recipes" / "upstream.toml").read_text(encoding="utf-8")
)
SETS = {"upstream": ("98ca613", "harness"), "upstream-2026-07": ("0274967", "harness-2026-07")}
ITEMS = {
    "medmcqa": "medmcqa_validation.jsonl",
    "medqa": "medqa_test.jsonl",
    "pubmedqa": "pubmedqa_labeled.jsonl",
    "medxpertqa": "medxpertqa_text_sample.jsonl",  # 625 of the 2,450
}
#: sha256 over every rendered prompt, each ended by a zero byte, in the files' order. The texts are
#: upstream's and the data sets', so that only their digest is kept here.
GOLDEN = {
    "upstream": {
        "medmcqa": "170b69faf7f27ae660ee4afc8b6113389511213ba09dd75cd54cd264b57f80a8",
        "medqa": "fa1ef62f7d01efc1edac716f681958a2c686843382100ce5f70009d5a1bb56ca",
        "pubmedqa": "3e56f7987ab438c0c86bc97a38b41034d7dcc921fc2c8537df5dd979a7fd1933",
        "medxpertqa": "26d56973fffe912eeede6b5f3ca7c9aa5abb31dd8c145fec41bec2a3a2451c0b",
    },
    "upstream-2026-07": {
        "medmcqa": "170b69faf7f27ae660ee4afc8b6113389511213ba09dd75cd54cd264b57f80a8",
        "medqa": "fa1ef62f7d01efc1edac716f681958a2c686843382100ce5f70009d5a1bb56ca",
        "pubmedqa": "b4543382b5713b1c65e6b5b9d137c8b4f97fd4a5765d52df03b62dc5ddf312ca",
        "medxpertqa": "6772054cceb2a53ad2c789b76f2fccf051c48d7b8c8ce443f16c744e192a5adc",
    },
}


def files_of(tasks: str) -> dict[str, bytes]:
    """Give the real files of a set, which are the ones that are pinned."""
    short, table = SETS[tasks]
    folder = real_files("upstream-files", f"tasks-{short}")
    found = {path.name: path.read_bytes() for path in folder.glob("*.yaml")}
    assert PINS[table]["commit"].startswith(short)
    for path, sha256 in PINS[table]["sha256"].items():
        assert hashlib.sha256(found[Path(path).name]).hexdigest() == sha256, path
    return found


def questions(name: str, *, every: bool) -> list[Question]:
    return read_benchmark(real_files("data", "benchmarks", ITEMS[name]), name, every=every)


@pytest.mark.parametrize("tasks", SETS)
def test_every_real_task_file_is_read(tasks: str) -> None:
    assert set(SETS) == set(pinned.SETS)
    files = files_of(tasks)
    assert list(pinned.read_tasks(files, BENCHMARKS)) == list(BENCHMARKS)
    assert "doc_to_decontamination_query" in pinned.set_aside(files, BENCHMARKS)


@pytest.mark.parametrize("tasks", SETS)
def test_a_set_asks_the_items_that_its_files_name(tasks: str) -> None:
    task = yaml.safe_load(files_of(tasks)["pubmedqa_g.yaml"])
    named = (task["dataset_path"], task["dataset_name"], task["test_split"])
    assert (
        pinned.split(tasks, "auto")
        == {
            ("bigbio/pubmed_qa", "pubmed_qa_labeled_fold0_source", "test"): "test",
            ("qiaojin/PubMedQA", "pqa_labeled", "train"): "labeled",
        }[named]
    )


@pytest.mark.parametrize("tasks", SETS)
@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_real_item_is_put_as_it_always_was(tasks: str, name: str) -> None:
    task = pinned.read_tasks(files_of(tasks), [name])[name]
    asked = questions(name, every=pinned.split(tasks, "auto") == "labeled")
    counts = {"medmcqa": 4183, "medqa": 1273, "medxpertqa": 625,
              "pubmedqa": 500 if tasks == "upstream" else 1000}  # fmt: skip
    prompts = pinned.render(task, asked)  # refuses an item whose right answer is another
    assert len(prompts) == len(set(asked_ids(asked))) == counts[name]
    joined = "".join(f"{prompt}\0" for prompt in prompts)
    assert hashlib.sha256(joined.encode()).hexdigest() == GOLDEN[tasks][name]


def asked_ids(asked: list[Question]) -> list[str]:
    return [question.id for question in asked]


@pytest.mark.parametrize("tasks", SETS)
def test_the_harness_puts_real_items_in_the_same_words(tasks: str) -> None:
    utils = pytest.importorskip("lm_eval.utils")
    found = pinned.read_tasks(files_of(tasks), BENCHMARKS)
    for name, task in found.items():
        asked = questions(name, every=True)
        theirs = [utils.apply_template(task["doc_to_text"], pinned.document(q)) for q in asked]
        assert theirs == pinned.render(task, asked), name


def test_what_july_changed_is_three_things() -> None:
    april, july = files_of("upstream"), files_of("upstream-2026-07")
    changed = {name for name in april if april[name] != july[name]}
    assert changed == {"medbench.yaml", "medxpertqa_g.yaml", "pubmedqa_g.yaml"}
    group = [yaml.safe_load(one["medbench.yaml"])["task"] for one in (april, july)]
    assert group[1] == [*group[0], "ai2_arc"]
    pub, med = (
        {k for k, v in yaml.safe_load(july[f]).items() if yaml.safe_load(april[f]).get(k) != v}
        for f in ("pubmedqa_g.yaml", "medxpertqa_g.yaml")
    )
    assert med == {"doc_to_text"}
    assert pub == {"doc_to_text", "dataset_path", "dataset_name", "validation_split", "test_split"}


@pytest.mark.parametrize("tasks", SETS)
def test_the_stand_ins_differ_in_their_words_alone(tasks: str) -> None:
    theirs, ours = files_of(tasks), task_files(july=tasks != "upstream")
    for name, data in ours.items():
        real, mine = yaml.safe_load(theirs[name]), yaml.safe_load(data)
        for one in (real, mine):
            if "task" in one and isinstance(one["task"], list):
                one["task"].sort()
        assert real.keys() == mine.keys(), name
        assert {k for k in real if real[k] != mine[k]} <= set(OWN), name
        assert mine.get("doc_to_text") != real.get("doc_to_text") or "group" in mine, name
