"""The corpus stage removes what stands in the benchmarks that the recipe is scored on."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kit.errors import KitError
from launch.plan import choices
from launch.run import recipe, site
from launch.run.folder import Run, create
from launch.stages import execution

QUESTION = "which of the invented drugs lowers the pressure in the eye within one hour"
CHOICES = ["first drug", "second drug", "third drug", "fourth drug"]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Run]:
    tokenizers = pytest.importorskip("tokenizers")
    words = sorted({*QUESTION.split(), *" ".join(CHOICES).split(), "A", "B", "C", "D", "."})
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({w: n for n, w in enumerate(["?", *words])}, unk_token="?")  # noqa: S106
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    base = tmp_path / "base"
    base.mkdir()
    tokenizer.save(str(base / "tokenizer.json"))
    (base / "model.safetensors").write_bytes(b"weights")

    item = {"id": "1", "sent1": QUESTION, "sent2": "", "label": 0}
    item |= {f"ending{n}": text for n, text in enumerate(CHOICES)}
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "medqa.jsonl").write_text(json.dumps(item) + "\n")

    asked = [
        "what is a drug",
        f"tell me {QUESTION} A. first drug B. second drug C. third drug",
        "x",
    ]
    rows = [
        {"id": str(n), "messages": [{"role": "user", "content": text},
                                    {"role": "assistant", "content": "an answer"}]}
        for n, text in enumerate(asked)
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def new(mode: str, asked: Sequence[str] = ("medqa",)) -> Run:
        settings = [
            ("corpus.sources", str(tmp_path / "rows.jsonl")),
            ("corpus.decontaminate", mode),
            ("eval.benchmark_files", str(tmp_path / "benchmarks")),
            ("eval.benchmarks", list(asked)),
            ("model.base", str(base)),
        ]
        chosen = recipe.with_settings(recipe.load("gemma-3-27b"), settings)
        return create(chosen, site.load("laptop"), ["corpus"], [], tmp_path / "runs")

    return new


@pytest.mark.parametrize(("mode", "left"), [("off", 3), ("correct", 2), ("faithful", 2)])
def test_the_stage_removes_what_the_recipe_is_scored_on(
    make: Callable[..., Run], mode: str, left: int
) -> None:
    run = make(mode)
    execution.execute(run, "corpus")
    folder = run.folder("corpus")
    kept = [json.loads(line)["id"] for line in (folder / "train.jsonl").open()]
    assert kept == [i for i in ("rows/0", "rows/1", "rows/2") if mode == "off" or i != "rows/1"]
    assert run.facts("corpus")["rows"] == left
    assert not (folder / "prepared.jsonl").exists()
    if mode != "off":
        assert json.loads((folder / "decontaminate/reports/medqa.json").read_text()) == {
            "rows/1": 0
        }
        assert "rows/1" in (folder / "decontaminate/contamination.html").read_text()
        assert run.facts("corpus")["decontamination"]["rows removed by component"] == "rows 1"
    # Finished; and begun anew when a benchmark changes, unless nothing is held against it.
    assert execution.execute(run, "corpus") == "skipped"
    with Path(run.recipe.table("eval")["benchmark_files"], "medqa.jsonl").open("a") as file:
        file.write("\n")
    assert execution.finished(run, "corpus") == (mode == "off")


def test_an_unknown_mode_is_refused(make: Callable[..., Run]) -> None:
    says = r"takes off, correct or faithful, not 'corect'; nearest: correct"
    with pytest.raises(KitError, match=says):
        make("corect")
    for wrong in (("corpus.decontaminate", "corect"), ("corpus.threshold", 50.0)):
        with pytest.raises(KitError):  # before a job waits in a queue
            recipe.with_settings(recipe.load("gemma-3-27b"), [wrong])


def test_what_is_held_against_what_is_said_before_a_run() -> None:
    def said(*settings: tuple[str, object]) -> str:
        chosen = recipe.with_settings(recipe.load("gemma-3-27b"), list(settings))
        return " ".join(choices.decide(chosen, site.load("laptop"), ["corpus"]))

    assert "decontamination: off" in said()
    whole = said(("corpus.decontaminate", "faithful"), ("eval.benchmarks", ["medqa", "medmcqa"]))
    assert "faithful, rows that hold 50% of a prompt of medqa, medmcqa" in whole


def test_every_benchmark_of_the_recipe_counts_and_no_item_outside_a_test_split(
    make: Callable[..., Run], tmp_path: Path
) -> None:
    said = "third drug first drug the pressure lowers eye within invented hour"
    talk = [{"role": "user", "content": said}, {"role": "assistant", "content": "a thing"}]
    other = {"pubid": 1, "question": QUESTION, "context": {"contexts": ["x"]}}
    files = {
        "healthbench_hard": [{"prompt_id": "h", "prompt": talk, "rubrics": []}],
        "auto_moove": [{"id": "v", "question": f"first {said}", "parentContribution": {}}],
        "pubmedqa": [other, {**other, "pubid": 2, "question": "another drug"}],
    }
    folder = tmp_path / "benchmarks"
    for name, items in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(i) + "\n" for i in items))
    (folder / "pubmedqa_test_pubids.json").write_text('["2"]')
    turns = [{"role": "user", "content": said}, {"role": "assistant", "content": "an answer"}]
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write(json.dumps({"id": "h", "messages": turns}) + "\n")

    # A second comparison of the same vignettes is no further benchmark to a row.
    run = make("correct", ["medqa", *files, "auto_moove_medgemma"])
    execution.execute(run, "corpus")
    out = run.folder("corpus") / "decontaminate"
    found = {p.stem: json.loads(p.read_text()) for p in (out / "reports").iterdir()}
    assert found == {"medqa": {"rows/1": 0}, "healthbench_hard": {"rows/h": 0},
                     "auto_moove": {"rows/h": 0}, "pubmedqa": {}}  # fmt: skip
    counts = json.loads((out / "summary.json").read_text())["benchmarks"]["pubmedqa"]
    assert (counts["prompts"], counts["outside"], counts["empty"]) == (1, 1, 0)
    assert execution.execute(run, "corpus") == "skipped"
    (folder / "pubmedqa_test_pubids.json").write_text('["1"]')
    assert not execution.finished(run, "corpus")
