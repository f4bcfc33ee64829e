"""Upstream's task files: what is read from them, and what is refused."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from standin_tasks import task_files

from checks.answers import LINEAR
from kit.errors import KitError
from scoring import pinned, task_keys
from scoring.harness import check_protocol
from scoring.mcq import BENCHMARKS, read_benchmark

SMOKE = Path(__file__).parents[2] / "recipes" / "smoke" / "benchmarks"


def test_the_group_gives_a_configuration_for_each_benchmark() -> None:
    found = pinned.read_tasks(task_files(), BENCHMARKS)
    assert list(found) == list(BENCHMARKS)
    for name, task in found.items():
        (kept,) = task["filter_list"]
        # The same matches, in linear time; the rest of the filter is the file's own.
        last = "J" if name == "medxpertqa" else "D"
        assert kept["filter"] == [
            {"function": "regex", "regex_pattern": LINEAR[last]},
            {"function": "take_first"},
        ]
        assert task["generation_kwargs"]["until"][:2] == ["</s>", "Q:"]
        assert not {"dataset_path", "training_split", "validation_split"} & task.keys()


def test_another_pattern_is_left_as_the_file_has_it() -> None:
    steps = [{"function": "regex", "regex_pattern": "x(.)"}, {"function": "take_first"}]
    own = {"filter_list": [{"name": pinned.FILTER, "filter": steps}]}
    found = pinned.read_tasks(task_files(medqa_g=own), ["medqa"])
    assert found["medqa"]["filter_list"][0]["filter"] == steps


CODE = b"task: medqa_g\ndoc_to_text: !function evil.f\n"


@pytest.mark.parametrize(
    ("files", "says", "where"),
    [
        ({**task_files(), "medqa_g.yaml": CODE}, "asks to run code: !function evil.f", "medqa_g"),
        ({"medqa_g.yaml": b"!!python/object/apply:os.system [id]"}, "not valid YAML", "medqa_g"),
        ({"medqa_g.yaml": b"task: [\n  x: {\n"}, "not valid YAML", "medqa_g.yaml:3"),
        ({"medqa_g.yaml": b"task: \xff"}, "not valid YAML", "medqa_g"),
        ({"medqa_g.yaml": b"- a\n"}, "not a task file", "medqa_g"),
        ({n: d for n, d in task_files().items() if n != "medqa_g.yaml"},
         "names the task 'medqa_g', which no pinned file defines; nearest: medmcqa_g",
         "medbench.yaml"),
        ({n: d for n, d in task_files().items() if n != "medbench.yaml"},
         "0 of upstream's task files define the group", "medqa_g"),
        ({}, "0 of upstream's task files define the group", "no file"),
        (task_files(medbench={"task": ["medmcqa_g"]}), "does not name 'medqa_g'", "medbench"),
        (task_files(medqa_g={"include": "other.yaml"}), "key 'include'", "medqa_g"),
        (task_files(medqa_g={"process_docs": "x"}), "key 'process_docs'", "medqa_g"),
        (task_files(medqa_g={"filter_list": None}), "no filter strict-final-answer", "medqa_g"),
        (task_files(medqa_g={"num_fewshot": 3}), "shows worked examples before", "medqa_g"),
        (task_files(medqa_g={"metric_list": [{"metric": "acc"}]}), "by exact_match", "medqa_g"),
        (task_files(medqa_g={"filter_list": [{"name": pinned.FILTER}]}), "not a list of functions",
         "medqa_g"),
        (task_files(medqa_g={"doc_to_text": 3}), "doc_to_text or doc_to_target is not text",
         "medqa_g"),
        (task_files(medqa_g={"generation_kwargs": ["x"]}), "generation_kwargs are not", "medqa_g"),
        (task_files(medqa_g={"shuld_decontaminate": True}),
         "neither lm-evaluation-harness nor the kit knows; nearest: should_decontaminate",
         "medqa_g"),
    ],
)  # fmt: skip
def test_what_is_not_of_the_published_form_is_refused(
    files: dict[str, bytes], says: str, where: str
) -> None:
    with pytest.raises(KitError) as caught:
        pinned.read_tasks(files, ["medqa"])
    assert says in caught.value.what
    assert where in caught.value.where
    assert caught.value.fix
    assert caught.value.exit_code == 2


def test_each_key_of_the_harness_is_classified_once() -> None:
    from dataclasses import fields

    config = pytest.importorskip("lm_eval.config.task").TaskConfig
    theirs = {f.name: f.default for f in fields(config)}
    kinds = (task_keys.READ, set(task_keys.INERT), set(task_keys.REFUSED))
    assert sum(map(len, kinds)) == len(set().union(*kinds)), "in one kind each"
    loader = {"include", "class"}
    assert set().union(*kinds) == set(theirs) | loader
    for key in set(task_keys.REFUSED) - loader:
        assert task_keys.REFUSED[key][0] == theirs[key], f"{key}: the harness's own default"


@pytest.mark.parametrize("key", task_keys.REFUSED)
def test_a_key_that_would_change_something_is_named_with_what(key: str) -> None:
    default, effect = task_keys.REFUSED[key]
    with pytest.raises(KitError, match=f"'{key}', which {effect}"):
        pinned.read_tasks(task_files(medqa_g={key: "x"}), ["medqa"])
    if default is not None:
        assert pinned.read_tasks(task_files(medqa_g={key: default}), ["medqa"])


def test_keys_that_change_nothing_are_accepted_and_named() -> None:
    plain, more = task_files(), task_files(medqa_g={**dict.fromkeys(task_keys.INERT, "x"),
                                                    "num_fewshot": 0, "repeats": 1})  # fmt: skip
    assert pinned.read_tasks(more, ["medqa"]) == pinned.read_tasks(plain, ["medqa"])
    assert pinned.set_aside(more, ["medqa"]) == sorted(task_keys.INERT)
    assert "should_decontaminate" in pinned.set_aside(plain, ["medmcqa"])


def test_a_wording_for_other_items_is_refused() -> None:
    questions = read_benchmark(SMOKE / "medqa.jsonl")
    assert pinned.check(task_files(), {"medqa": questions}) == len(questions)
    for change, says in (
        ({"doc_to_text": "{{sentence}}"}, "cannot put the item: 'sentence' is undefined"),
        ({"doc_to_text": "{{sent1"}, "cannot put the item"),
        ({"doc_to_target": "{{ 'BCDA'[label] }}"}, "right, the item"),
        ({"doc_to_target": "{{ 'AB'[label + 9] }}"}, "cannot put the item"),
    ):
        with pytest.raises(KitError, match=says) as caught:
            pinned.check(task_files(medqa_g=change), {"medqa": questions})
        assert questions[0].id in caught.value.where


def test_a_set_of_one_date_is_not_asked_of_the_others_items_in_silence() -> None:
    assert pinned.split("upstream", "auto") == pinned.split("kit", "auto") == "test"
    assert pinned.split("upstream-2026-07", "auto") == "labeled"
    for tasks, items in (("upstream", "auto"), ("upstream", "test"), ("kit", "labeled"),
                         ("upstream-2026-07", "labeled")):  # fmt: skip
        assert pinned.mixture(tasks, items) == ""
    assert "nobody's protocol" in pinned.mixture("upstream", "labeled")
    assert pinned.notes("upstream", "auto") == []
    assert len(pinned.notes("upstream-2026-07", "test")) == 2
    assert "after publication" in pinned.notes("upstream-2026-07", "auto")[0]
    assert "eval.tasks=upstream" in pinned.mixture("upstream-2026-07", "test")


def test_a_task_that_is_not_wanted_may_be_anything_but_code() -> None:
    assert list(pinned.read_tasks(task_files(medmcqa_g={"num_fewshot": 3}), ["medqa"])) == ["medqa"]


def test_pubmedqa_has_the_names_of_both_data_sets() -> None:
    question = read_benchmark(SMOKE / "pubmedqa.jsonl")[0]
    document = pinned.document(question)
    assert document["QUESTION"] == document["question"]
    assert document["CONTEXTS"] == document["context"]["contexts"]
    assert document["final_decision"] in ("yes", "no", "maybe")


def test_all_of_pubmedqa_can_be_asked_and_says_which_were_listed(tmp_path: Path) -> None:
    path = tmp_path / "pubmedqa.jsonl"
    path.write_bytes((SMOKE / "pubmedqa.jsonl").read_bytes())
    ids = [q.id for q in read_benchmark(path)]
    (tmp_path / "pubmedqa_test_pubids.json").write_text(json.dumps(ids[::2]))
    assert [q.listed for q in read_benchmark(path)] == [True] * len(ids[::2])
    whole = read_benchmark(path, every=True)
    assert [q.id for q in whole if q.listed] == ids[::2]
    assert len(whole) == len(ids)


def test_a_protocol_with_an_unknown_name_is_refused_with_the_nearest() -> None:
    good = {"tasks": "upstream", "extraction": "robust", "backend": "hf", "pubmedqa": "test"}
    check_protocol(**good)
    for key, wrong, near in (
        ("tasks", "upstraem", "upstream"),
        ("extraction", "publisched", "published"),
        ("backend", "vlm", "vllm"),
        ("pubmedqa", "labelled", "labeled"),
    ):
        with pytest.raises(KitError, match=f"{wrong!r}; nearest: {near}") as caught:
            check_protocol(**{**good, key: wrong})
        assert caught.value.where == f"eval.{key}"
    with pytest.raises(KitError, match="there is no tasks 'x'; known: "):
        check_protocol(**{**good, "tasks": "x"})
