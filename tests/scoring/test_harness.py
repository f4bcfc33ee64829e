"""The real harness with a scripted model in place of weights: what is asked, read and scored."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")
sys.path.insert(0, str(Path(__file__).parent))
from lm_eval.api.model import LM
from standin_tasks import task_files

from checks.items import read_items
from kit.errors import KitError
from scoring import harness, suites
from scoring.mcq import BENCHMARKS, read_benchmark

SMOKE = Path(__file__).parents[2] / "recipes" / "smoke" / "benchmarks"
PROTOCOL: dict[str, Any] = {
    "limit": 0, "seed": 42, "batch_size": 8, "max_gen_toks": 64, "max_length": 512,
    "dtype": "float32", "chat_template": False, "device": None, "log": lambda _: None,
}  # fmt: skip


class Scripted(LM):
    """A stand-in for a model: answers by a function of the prompt, keeps what it was asked."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer, self.asked = answer, []  # type: ignore[var-annotated]
        self.tokenizer = None

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:  # noqa: ARG002
        self.asked += [r.args for r in requests]
        return [self.answer(r.args[0]) for r in requests]

    def loglikelihood(self, requests: list[Any], **_: Any) -> list[tuple[float, bool]]:
        self.asked += [r.args for r in requests]
        return [(-float(len(r.args[1])), False) for r in requests]

    def loglikelihood_rolling(self, requests: list[Any], **_: Any) -> list[float]:
        raise NotImplementedError


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Any:
    def use(answer: Any) -> Scripted:
        model = Scripted(answer)
        monkeypatch.setattr(harness, "load", lambda *_, **__: model)
        monkeypatch.setattr(harness, "turn_ends", lambda *_: ["<end>"])
        return model

    return use


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").open(encoding="utf-8")]


def test_upstreams_words_stops_and_reading(tmp_path: Path, scripted: Any) -> None:
    # The published rule stops at the first "answer"; the robust one reads the last explicit one.
    model = scripted(lambda _: "My answer is a guess. Final Answer: (B)")
    files = {name: SMOKE / f"{name}.jsonl" for name in BENCHMARKS}
    given = {**PROTOCOL, "tasks": "upstream", "task_files": task_files()}
    found = harness.evaluate(
        tmp_path, files, tmp_path / "published", extraction="published", **given
    )
    harness.evaluate(tmp_path, files, tmp_path / "robust", extraction="robust", **given)
    for name in BENCHMARKS:
        golds = {q.id: q.gold for q in read_benchmark(files[name])}
        # MedXpertQA's pattern knows ten letters and cannot pass the "is" before the guess.
        first = "B" if name == "medxpertqa" else "A"
        for rule, letter in (("published", first), ("robust", "B")):
            items = rows(tmp_path / rule, name)
            assert [i["id"] for i in items] == list(golds)  # the file's order
            assert {i["answer"] for i in items} == {letter}
            assert all(i["score"] == (golds[i["id"]] == letter) for i in items)
            assert all(i["question"].startswith("Invented wording. ") for i in items)
        share = sum(g == first for g in golds.values()) / len(golds)
        assert found[name]["score"] == pytest.approx(share)
        assert read_items(tmp_path / "published" / f"{name}.jsonl", name)
    settings = {json.dumps(kwargs, sort_keys=True) for _, kwargs in model.asked}
    assert [json.loads(one) for one in settings] == [
        {"until": ["</s>", "Q:", "<|im_end|>", "<|end_of_text|>", "<end>"],
         "do_sample": False, "temperature": 0.0,
         "top_p": 1.0, "max_gen_toks": 64}
    ]  # fmt: skip
    # As bigbio's rows have it, a list: PubMedQA's contexts are rendered with their brackets.
    assert any("wording. ['" in prompt for prompt, _ in model.asked)


def test_an_answer_that_is_no_option_counts_as_read_and_wrong(
    tmp_path: Path, scripted: Any
) -> None:
    scripted(lambda prompt: "Answer: (D)" if "Yes" in prompt else "no letter")
    given = {**PROTOCOL, "tasks": "upstream", "task_files": task_files()}
    files = {"pubmedqa": SMOKE / "pubmedqa.jsonl", "medqa": SMOKE / "medqa.jsonl"}
    harness.evaluate(tmp_path, files, tmp_path, extraction="published", **given)
    assert {(i["answer"], i["score"]) for i in rows(tmp_path, "pubmedqa")} == {("D", 0)}
    assert {(i["answer"], i["score"]) for i in rows(tmp_path, "medqa")} == {(None, 0)}


def test_wording_that_asks_for_a_field_that_is_not_there(tmp_path: Path, scripted: Any) -> None:
    scripted(lambda _: "")
    files = task_files(medqa_g={"doc_to_text": "{{stem}}"})
    with pytest.raises(KitError, match="does not fit the items: 'stem' is undefined"):
        harness.evaluate(tmp_path, {"medqa": SMOKE / "medqa.jsonl"}, tmp_path, tasks="upstream",
                         task_files=files, **PROTOCOL)  # fmt: skip


def test_the_kits_own_wording_is_asked_as_it_stands(tmp_path: Path, scripted: Any) -> None:
    model = scripted(lambda _: "Final Answer: (A)")
    path = SMOKE / "medxpertqa.jsonl"
    found = harness.evaluate(tmp_path, {"medxpertqa": path}, tmp_path, **{**PROTOCOL, "limit": 5})
    prompts = {q.prompt for q in read_benchmark(path)}
    assert len(model.asked) == 5
    assert {prompt for prompt, _ in model.asked} <= prompts
    assert (found["medxpertqa"]["items"], found["medxpertqa"]["of"]) == (5, len(prompts))


# --- what the harness brings itself ---------------------------------------------------------------


def write(path: Path, *given: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    return path


def mmlu(number: int, category: str, answer: str = "B", **more: Any) -> dict[str, Any]:
    return {"question_id": number, "question": f"Invented question {number}?", "category": category,
            "options": ["one", "two", "three"], "answer": answer, **more}  # fmt: skip


def mmlu_files(folder: Path) -> Path:
    worked = [
        mmlu(900 + n, c, "A", cot_content="A: Let's think step by step. The answer is (A).")
        for c in ("health", "computer science")
        for n in range(5)
    ]
    write(folder / "mmlu_pro_fewshot.jsonl", *worked)
    given = [mmlu(1, "health"), mmlu(2, "computer science", "C"), mmlu(3, "health", "A")]
    return write(folder / "mmlu_pro.jsonl", *given)


def test_mmlu_pro_by_the_harness_own_tasks(tmp_path: Path, scripted: Any) -> None:
    model = scripted(lambda _: "so the answer is (B).")
    files = {"mmlu_pro": mmlu_files(tmp_path)}
    found = harness.evaluate(tmp_path, files, tmp_path / "items", **PROTOCOL)
    items = rows(tmp_path / "items", "mmlu_pro")
    assert [(i["id"], i["answer"], i["score"]) for i in items] == [
        ("1", "B", 1), ("2", "B", 0), ("3", "B", 0)]  # fmt: skip
    assert items[1]["category"] == "computer science"
    assert found["mmlu_pro"]["items"] == 3
    for prompt, settings in model.asked:  # five worked examples of the same category before each
        assert prompt.count("Let's think step by step") == 6
        assert settings["max_gen_toks"] == 64  # its own 2,048 are more than the recipe allows
    assert read_items(tmp_path / "items" / "mmlu_pro.jsonl")[0].options == {
        "A": "one", "B": "two", "C": "three"}  # fmt: skip


def test_arc_challenge_by_likelihood(tmp_path: Path, scripted: Any) -> None:
    scripted(None)
    choices = {"text": ["a long ending", "short"], "label": ["A", "B"]}
    path = write(tmp_path / "arc_challenge.jsonl", *(
        {"id": f"q{n}", "question": "What?", "choices": choices, "answerKey": key}
        for n, key in enumerate("BA")))  # fmt: skip
    harness.evaluate(tmp_path, {"arc_challenge": path}, tmp_path / "items", **PROTOCOL)
    items = rows(tmp_path / "items", "arc_challenge")
    # The scripted model finds shorter endings likelier.
    assert [(i["answer"], i["gold"], i["score"]) for i in items] == [("B", "B", 1), ("B", "A", 0)]
    assert "acc_norm" in items[0]


@pytest.fixture
def punkt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty tables in the form of NLTK's punkt_tab, which cannot be fetched in a test."""
    nltk = pytest.importorskip("nltk")
    folder = tmp_path / "nltk" / "tokenizers" / "punkt_tab" / "english"
    folder.mkdir(parents=True)
    for name in ("abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt"):
        (folder / name).touch()
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path / "nltk")])


def ifeval(key: int, *instructions: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {"key": key, "prompt": "Write something.",
            "instruction_id_list": [name for name, _ in instructions],
            "kwargs": [kwargs for _, kwargs in instructions]}  # fmt: skip


@pytest.mark.usefixtures("punkt")
def test_ifeval_by_the_harness_own_checkers(tmp_path: Path, scripted: Any) -> None:
    scripted(lambda _: "a text without that mark")
    path = write(tmp_path / "ifeval.jsonl",
        ifeval(7, ("punctuation:no_comma", {})),
        ifeval(8, ("punctuation:no_comma", {}),
               ("keywords:existence", {"keywords": ["zebra"]})))  # fmt: skip
    harness.evaluate(tmp_path, {"ifeval": path}, tmp_path / "items", **PROTOCOL)
    first, second = rows(tmp_path / "items", "ifeval")
    assert (first["id"], first["score"], second["score"]) == ("7", 1, 0)
    assert second["inst_level_strict_acc"] == [True, False]
    assert second["why"] == "punctuation:no_comma: followed; keywords:existence: not followed"
    assert read_items(tmp_path / "items" / "ifeval.jsonl")[1].score == 0


def test_ifeval_without_its_data_is_refused_before_anything_is_generated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nltk = pytest.importorskip("nltk")
    monkeypatch.setattr(nltk.data, "path", [])
    path = write(tmp_path / "ifeval.jsonl", ifeval(1, ("punctuation:no_comma", {})))
    with pytest.raises(KitError, match="punkt_tab, which is not on this machine") as caught:
        suites.read("ifeval", path)
    assert "python -m nltk.downloader -d FOLDER punkt_tab" in caught.value.fix
    monkeypatch.setattr(suites, "find_spec", lambda name: None if name == "langdetect" else 1)
    with pytest.raises(KitError, match="the package langdetect"):
        suites.read("ifeval", path)


def test_a_machine_without_the_harness_checks_what_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suites, "find_spec", lambda _: None)
    path = write(tmp_path / "ifeval.jsonl", ifeval(1, ("no:such", {})))
    assert list(suites.read("ifeval", path).rows) == ["1"]
    write(path, {**ifeval(1, ("no:such", {})), "kwargs": [{}, {}]})
    with pytest.raises(KitError, match="differ in length"):
        suites.read("ifeval", path)


@pytest.mark.usefixtures("punkt")
@pytest.mark.parametrize(
    ("name", "row", "says"),
    [
        ("mmlu_pro", mmlu(1, "health", "D"), "'D' is none of its 3 options"),
        ("mmlu_pro", mmlu(1, "astrology"), "none of MMLU-Pro's categories"),
        ("mmlu_pro", {"question_id": 1}, "The field 'question' is missing"),
        ("mmlu_pro", mmlu(1, "law"), "category 'law' has no worked example"),
        ("ifeval", ifeval(1, ("punctuation:no_coma", {})), "no instruction 'punctuation:no_coma'"),
        ("ifeval", {**ifeval(1, ("a", {})), "kwargs": [{}, {}]}, "differ in length"),
        ("arc_challenge", {"id": "x", "question": "?", "choices": {"text": ["a"], "label": ["A"]},
                           "answerKey": "E"}, "'E' is no label"),
        ("arc_challenge", {"id": "x", "question": "?", "choices": {"text": ["a"]},
                           "answerKey": "A"}, "as many labels as texts"),
    ],
)  # fmt: skip
def test_an_item_that_cannot_be_scored_names_its_line(
    tmp_path: Path, name: str, row: dict[str, Any], says: str
) -> None:
    mmlu_files(tmp_path)
    path = write(tmp_path / f"{name}.jsonl", row)
    with pytest.raises(KitError) as caught:
        suites.read(name, path)
    assert says in caught.value.what
    with pytest.raises(KitError, match="appears twice"):
        good = mmlu(1, "health")
        suites.read("mmlu_pro", write(tmp_path / "mmlu_pro.jsonl", good, good))
