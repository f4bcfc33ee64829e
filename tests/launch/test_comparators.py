"""Auto-MOOVE against another model than the base: who it is, what is refused, its part of a run."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "scoring"))
from judged_runs import counted, finish, servers, start, until
from model_folders import whole

from checks.tables import load_table
from kit.errors import KitError
from kit.process import is_alive
from launch.inputs import comparators, wanted
from launch.plan import choices
from launch.run import judged_benchmarks, recipe, site
from launch.run.folder import Run, create
from launch.run.identity import as_json
from launch.run.recipe import Recipe
from launch.slurm.script import data_paths
from launch.stages import evaluate, graders
from launch.stages.stage import context

BASE, OTHER = "auto_moove", "auto_moove_medgemma"
MEDGEMMA = "google/medgemma-27b-text-it"
TABLE = """
[table]
source = "an invented paper"
[benchmarks.medqa]
[models.base]
[models.ours]
base = "base"
[[comparisons]]
name = "auto_moove"
model = "ours"
against = "base"
win = 50.0
tie = 30.0
loss = 20.0
[[comparisons]]
name = "auto_moove"
model = "ours"
against = "MedGemma-27B"
win = 96.0
tie = 3.0
loss = 1.0
preferred = 97.5
"""


def folder(place: Path, weights: bytes) -> Path:
    """Make a whole model folder whose weights end in these bytes."""
    file = whole(place) / "model.safetensors"
    file.write_bytes(file.read_bytes()[: -len(weights)] + weights)
    return place


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Run]:
    """Give a run of the miniature's comparisons, on weights and with others that nobody loads."""
    table = tmp_path / "table.toml"
    table.write_text(TABLE)

    def new(*, weights: bytes = b"ours", other: bytes = b"theirs") -> Run:
        given = {
            "eval.benchmarks": [BASE, OTHER],
            "eval.base": False,
            "model.weights": str(folder(tmp_path / "ours", weights)),
            "judge.medgemma": str(folder(tmp_path / "theirs", other)),
            "published.table": str(table),
            "published.model": "ours",
        }
        chosen = recipe.with_settings(recipe.load("smoke"), given.items())
        place, stages = site.load("laptop"), ["evaluate", "judge"]
        chosen, said = wanted.freeze(chosen, place, stages)
        choices.check_inputs(chosen, place, stages)
        return create(chosen, place, stages, said, tmp_path / "runs")

    return new


def calls(run: Run, name: str) -> list[dict[str, Any]]:
    path = run.folder("evaluate") / "calls" / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines() if '"reply"' in line]


def test_a_run_is_judged_against_the_base_and_the_other_model(make: Callable[..., Run]) -> None:
    run = make()
    summary = finish(run, "stages")
    scores = {name: one["score"] for name, one in summary["trained"].items()}
    assert scores[OTHER] == 1.0, "its stand-in never has the right answer"
    assert 0.6 < scores[BASE] < 1, "the base's stand-in sometimes has"
    assert set(summary) == {"trained", "base", "judged"}, "medgemma is scored on nothing"
    # The same vignettes, so what ours answered for one comparison serves the other.
    assert [len(calls(run, name)) for name in ("trained", "base", "medgemma")] == [40, 40, 40]
    assert sum(counted(run)["trained"].values()) == 40
    ids = [[json.loads(x)["id"] for x in (run.items / f"{n}.jsonl").open()] for n in (BASE, OTHER)]
    assert ids[0] == ids[1]

    verdict = json.loads(run.verdict.read_text())
    rows = {row["benchmark"]: row for row in verdict["benchmarks"]}
    row = rows[OTHER]
    assert (row["title"], row["published"]) == ("Auto-MOOVE against MedGemma-27B", 97.5)
    assert (row["observed"], row["judged"]["win"]) == (100.0, 1.0)
    assert (rows[BASE]["title"], rows[BASE]["published"]) == ("Auto-MOOVE against base", 65.0)
    place = run.recipe.table("judge")["medgemma"]
    assert verdict["provenance"]["judged by"]["comparators"] == {"medgemma": place}
    assert "Auto-MOOVE against MedGemma-27B" in run.report.read_text()


def test_a_grading_that_was_killed_pays_for_no_reply_twice(make: Callable[..., Run]) -> None:
    run = make()
    process = start(run, "stages")
    record = run.folder("evaluate") / "calls" / "judge.jsonl"
    until(lambda: record.is_file() and record.read_text().count('"reply"') >= 60)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = calls(run, "judge")
    mine = servers(run)
    until(lambda: not any(is_alive(pid) for pid in mine))
    assert not (run.items / f"{OTHER}.jsonl").exists(), "it was killed too late to show anything"
    finish(run, "stages")
    after = calls(run, "judge")
    assert after[: len(before)] == before
    keys = [one["key"] for one in after]
    assert len(keys) == len(set(keys)), "what had a reply was asked again"
    asked = counted(run)
    # Of what was under way at the kill the judge may have answered some, and nobody heard it.
    repeated = sum(asked["judge"].values()) - len(asked["judge"])
    assert repeated <= run.recipe.table("judge")["concurrency"] < len(before)
    for name in ("trained", "base", "medgemma"):
        assert set(asked[name].values()) == {1}


def test_equal_weights_are_refused_before_anything_is_scored(make: Callable[..., Run]) -> None:
    run = make(other=b"ours")
    with pytest.raises(KitError, match="compare a model with itself") as caught:
        evaluate.execute(evaluate.inputs(run), context(run, "evaluate"))
    assert "byte for byte" in caught.value.cause
    scored = evaluate.inputs(run).weights
    run_of(run, other=b"theirs")
    evaluate.refuse_itself(run.recipe, run.site, scored)


def run_of(run: Run, other: bytes) -> Run:
    (Path(run.recipe.table("judge")["medgemma"]) / "model.safetensors").write_bytes(other)
    return run


def test_another_comparator_is_another_evaluation(make: Callable[..., Run]) -> None:
    run = make()
    one = as_json(evaluate.inputs(run))
    assert as_json(evaluate.inputs(run)) == one
    other = evaluate.inputs(run_of(run, b"others"))
    assert as_json(other) != one
    assert other.identities()["medgemma"] != other.identities()["trained"]


# --- who it is ------------------------------------------------------------------------------------


def full(**settings: Any) -> Recipe:
    given = {f"judge.{key}": value for key, value in settings.items()}
    return recipe.with_settings(recipe.load("gemma-3-27b"), given.items())


def test_the_recipes_whose_table_has_the_comparison_name_it_and_no_others() -> None:
    table = load_table("fully-open-meditron")
    for name in recipe.known_recipes():
        one = recipe.load(name)
        small = not one.table("shape")["gpus"]  # compares its own benchmarks, whatever its row has
        if small or one.table("published")["table"] != table.name:
            assert OTHER not in one.table("eval")["benchmarks"]
            continue
        published = table.score(OTHER, one.table("published")["model"])
        assert (OTHER in one.table("eval")["benchmarks"]) == (published is not None)
    gemma = table.score(OTHER, "Gemma-3-27B-MeditronFO")
    apertus = table.score(OTHER, "Apertus-70B-MeditronFO")
    assert gemma is not None
    assert apertus is not None
    assert (gemma.value, apertus.value) == (58.6, pytest.approx(41.2 + 20.9 / 2))


def test_without_vignettes_both_comparisons_are_left_out_and_ask_for_nothing(
    tmp_path: Path,
) -> None:
    chosen, said = choices.resolve("gemma-3-27b", [])
    assert not judged_benchmarks.comparisons(chosen)
    assert any(line.startswith(f"{BASE}, {OTHER}: left out") for line in said)
    assert judged_benchmarks.comparators(full()) == {}
    file = tmp_path / "v.jsonl"
    file.write_text(json.dumps({"id": "1", "prompt": "What now?"}) + "\n")
    chosen, said = choices.resolve("gemma-3-27b", [("judge.vignettes", str(file))])
    assert not any("left out" in line for line in said)
    assert judged_benchmarks.comparators(chosen)["medgemma"].model == MEDGEMMA
    given = recipe.with_settings(chosen, [("eval.benchmarks", [BASE, OTHER])])
    assert evaluate.benchmark_files(given) == {BASE: file, OTHER: file}
    place = site.load("clariden")
    named = [s.name for s in graders.servers(given, place, Path("/ours"), "/base")]
    assert named == ["base", "trained", "medgemma", "judge"]
    assert f"compared with {MEDGEMMA}@main" in "\n".join(graders.describe(given, place))


@pytest.mark.parametrize(
    ("given", "says", "why"),
    [
        ({"medgemma": ""}, "not said whose answers auto_moove_medgemma", "judge.medgemma is not"),
        ({"medgemma": "/no/such/folder"}, "no such folder of weights", ""),
        ({"medgemma": "./nowhere"}, "no such folder of weights", ""),
        ({"medgemma": "google/gemma-3-27b-it"}, "a model with itself", "the base model"),
        ({"medgemma": "EPFLiGHT/Gemma-3-27B-MeditronFO"}, "with itself", "the published model"),
    ],
)
def test_what_is_no_other_model_is_refused(given: dict[str, str], says: str, why: str) -> None:
    with pytest.raises(KitError, match=says) as caught:
        judged_benchmarks.comparators(full(vignettes="/v.jsonl", **given))
    assert why in caught.value.cause
    assert "judge.medgemma" in str(caught.value)


def test_the_scored_folder_is_no_comparator_and_pickles_are_not_loaded(tmp_path: Path) -> None:
    ours = folder(tmp_path / "ours", b"w")
    one = full(vignettes="/v.jsonl", medgemma=str(ours))
    assert judged_benchmarks.comparators(one)["medgemma"].folder == ours
    assert ours in data_paths(one), "a container has to see it"
    with pytest.raises(KitError, match="with itself") as caught:
        judged_benchmarks.comparators(recipe.with_settings(one, [("model.weights", str(ours))]))
    assert "the folder of weights that is scored" in caught.value.cause
    (ours / "model.safetensors").rename(ours / "pytorch_model.bin")
    with pytest.raises(KitError, match="holds no safetensors"):
        comparators.folder(one, site.load("laptop"), judged_benchmarks.comparators(one)["medgemma"])
