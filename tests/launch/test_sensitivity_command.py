"""mfo verify --sensitivity: of a run, of two, of items, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from finished import finished_run

from checks.bundle import compare
from launch.run.folder import Run

Call = Callable[..., tuple[int, str, str]]
SMOKE = Path(__file__).parents[2] / "recipes" / "smoke" / "benchmarks"


@pytest.fixture
def run(tmp_path: Path, corpus_file: Path) -> Run:
    return finished_run(tmp_path, corpus_file)


def test_a_run_says_how_its_answers_could_have_been_read(run: Run, call: Call) -> None:
    runs = run.path.parent
    code, out, err = call("verify", run.name, "--runs", runs, "--sensitivity", "--json")
    assert code == 0, err
    (medqa,) = json.loads(out)["sensitivity"]  # the rubric has no such choice
    assert [(v["name"], v["right"]) for v in medqa["variants"]] == [
        ("as scored", 150), ("published", 150), ("robust", 150)]  # fmt: skip
    (template,) = medqa["cannot"]
    # The recipe asks without a template, so that the other way round is what is left to try.
    assert "--recipe gemma-3-27b --set eval.chat_template=true" in template["next"]
    _, out, _ = call("verify", run.name, "--runs", runs, "--sensitivity")
    assert "not tried: chat template" in out
    # The verdict and its page hold the table as well.
    verdict = json.loads(run.verdict.read_text())
    assert [one["benchmark"] for one in verdict["sensitivity"]] == ["medqa"]
    call("report", run.name, "--runs", runs)
    page = (run.path / "report" / "index.html").read_text()
    assert "How the answers are read" in page
    assert "<b>published</b>: the first match of upstream" in page
    held = compare({k: v for k, v in verdict.items() if k != "sensitivity"}, verdict)
    assert held == []
    other = json.loads(json.dumps(verdict))
    other["sensitivity"][0]["variants"][1]["right"] = 151
    assert "the bundle says 151" in compare(other, verdict)[0]
    del verdict["sensitivity"]  # a verdict of an older version has none, and is drawn all the same
    run.verdict.write_text(json.dumps(verdict))
    assert call("report", run.name, "--runs", runs)[0] == 0
    assert "How the answers are read" not in (run.path / "report" / "index.html").read_text()


def test_two_runs_of_the_same_weights_are_compared(
    run: Run, call: Call, tmp_path: Path, corpus_file: Path
) -> None:
    other = finished_run(tmp_path, corpus_file, 43, **{"eval.chat_template": True})
    given = ["verify", run.name, other.name, "--runs", run.path.parent, "--sensitivity"]
    code, out, err = call(*given)
    assert code == 0, err
    assert "eval.chat_template: False against True" in out
    code, out, _ = call(*given, "--json", "--markdown", tmp_path / "m.md")
    (medqa,) = json.loads(out)["comparison"]
    assert (medqa["rows"][0]["ours"], medqa["rows"][0]["theirs"]) == (75.0, 75.5)
    assert "| as scored | 75.00 | 75.50 |" in (tmp_path / "m.md").read_text()
    for key, value, says in (("weights", "x", "other weights"),
                             ("benchmarks", {"medqa": "x"}, "other benchmark files")):  # fmt: skip
        for one, hashed in ((run, value), (other, "y" if key == "weights" else {"medqa": "y"})):
            (one.folder("evaluate") / "inputs.json").write_text(json.dumps({key: hashed}))
        code, _, err = call(*given)
        assert (code, says in err) == (2, True)


def predictions(folder: Path, benchmark: str = "medqa") -> tuple[Path, list[dict[str, object]]]:
    rows: list[dict[str, object]] = [
        {"id": row["id"], "gold": "ABCD"[row["label"]], "answer": "A", "response": "Answer: B"}
        for row in map(json.loads, (SMOKE / f"{benchmark}.jsonl").open())
    ]
    return write(folder, rows), rows


def write(folder: Path, rows: list[dict[str, object]]) -> Path:
    path = folder / "some_medqa.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_predictions_alone_and_held_against_their_benchmark(call: Call, tmp_path: Path) -> None:
    path, rows = predictions(tmp_path)
    given = ["verify", "--items", path, "--sensitivity"]
    code, out, err = call(*given, "--json", "--benchmarks", SMOKE)
    assert code == 0, err
    (medqa,) = json.loads(out[out.index("{") :])["sensitivity"]
    right = {letter: sum(row["gold"] == letter for row in rows) for letter in "AB"}
    assert [v["right"] for v in medqa["variants"]] == [right["A"], right["B"], right["B"]]
    assert "published" in call(*given)[1]

    changed = [{**rows[0], "id": rows[0]["id"] + "x"}, *rows[1:]]  # type: ignore[operator]
    write(tmp_path, changed)
    code, _, err = call(*given, "--benchmarks", SMOKE)
    assert code == 2
    assert f"1 of {len(rows)} predictions are of no item of medqa" in err
    assert f"nearest: {rows[0]['id']}," in err
    assert call(*given)[0] == 0  # without the benchmark's file nobody can tell

    wrong = "A" if rows[0]["gold"] != "A" else "B"
    write(tmp_path, [{**rows[0], "gold": wrong}, *rows[1:]])
    code, _, err = call(*given, "--benchmarks", SMOKE)
    assert (code, "in the predictions and" in err) == (2, True)

    write(tmp_path, [{k: v for k, v in row.items() if k != "response"} for row in rows])
    code, _, err = call(*given)
    assert (code, "no item has a response" in err) == (2, True)


def test_what_does_not_go_together_is_refused(call: Call, run: Run, tmp_path: Path) -> None:
    path, _ = predictions(tmp_path)
    for words, says in (
        (["--items", path, "--benchmarks", SMOKE], "--benchmarks goes with --recipe, or"),
        ([tmp_path, "--recipe", "smoke", "--sensitivity"], "--recipe gets new ones"),
        ([run.name, run.name, run.name, "--sensitivity"], "takes one run, or two"),
    ):
        code, _, err = call("verify", *words, "--runs", run.path.parent)
        assert (code, says in err) == (2, True), err
