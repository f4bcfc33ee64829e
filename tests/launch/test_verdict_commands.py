"""mfo verify with several runs, the triangle and its files; mfo calibrate and its documentation."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from finished import finished_run

from checks.calibrate import calibrate, calibration_markdown
from checks.tables import load_table
from launch.run.folder import Run

Call = Callable[..., tuple[int, str, str]]
DOCS = Path(__file__).parents[2] / "docs" / "calibration.md"


@pytest.fixture
def seeds(tmp_path: Path, corpus_file: Path) -> list[Run]:
    return [finished_run(tmp_path, corpus_file, seed) for seed in (42, 43, 44)]


def test_three_runs_are_judged_as_three_seeds(seeds: list[Run], call: Call, tmp_path: Path) -> None:
    given = [*(run.name for run in seeds), "--runs", seeds[0].path.parent]
    code, out, err = call("verify", *given, "--json", "--report", tmp_path / "page")
    assert code == 0, err
    verdict = json.loads(out)
    medqa = next(row for row in verdict["benchmarks"] if row["benchmark"] == "medqa")
    assert medqa["seeds"]["scores"] == {"42": 75.0, "43": 75.5, "44": 76.0}
    assert (medqa["n"], medqa["evaluations"]) == (200, 600)
    assert verdict["provenance"]["runs"] == [run.name for run in seeds]
    assert "0, seed 43" in (tmp_path / "page" / "index.html").read_text()
    assert "3 training seeds" in call("verify", *given)[1]


def test_one_run_is_judged_alone(seeds: list[Run], call: Call) -> None:
    code, out, _ = call("verify", seeds[0].name, "--runs", seeds[0].path.parent, "--json")
    assert (code, json.loads(out)) == (0, json.loads(seeds[0].verdict.read_text()))


def test_a_run_can_be_held_against_another_table(
    seeds: list[Run], call: Call, tmp_path: Path
) -> None:
    other = tmp_path / "other.toml"
    other.write_text((tmp_path / "table.toml").read_text().replace("medqa = 75.0", "medqa = 40.0"))
    given = [*(run.name for run in seeds), "--runs", seeds[0].path.parent, "--published", other]
    assert call("verify", *given)[0] == 1
    assert call("verify", seeds[0].name, *given[3:])[0] == 1
    code, out, _ = call("verify", seeds[0].name, *given[3:5], "--tier", "weights", "--json")
    assert (code, json.loads(out)["tier"]) == (0, "weights")
    code, _, err = call("verify", seeds[0].name, *given[3:5], "--benchmark", "medqa")
    assert (code, "a run knows its own" in err) == (2, True)


def test_runs_that_differ_in_more_than_the_seed_are_refused(
    seeds: list[Run], call: Call, tmp_path: Path, corpus_file: Path
) -> None:
    runs = seeds[0].path.parent
    other = finished_run(tmp_path, corpus_file, 45, **{"train.learning_rate": 2e-6})
    code, _, err = call("verify", seeds[0].name, other.name, "--runs", runs)
    assert (code, "differ in [train]" in err) == (2, True)
    code, _, err = call("verify", seeds[0].name, seeds[0].name, "--runs", runs)
    assert (code, "the same seed 42" in err) == (2, True)
    summary = seeds[1].folder("evaluate") / "summary.json"
    summary.write_text(summary.read_text().replace("b" * 64, "d" * 64))
    code, _, err = call("verify", seeds[0].name, seeds[1].name, "--runs", runs)
    assert (code, "not asked the same questions" in err) == (2, True)
    seeds[2].set_status("evaluate", "failed")
    code, _, err = call("verify", seeds[0].name, seeds[2].name, "--runs", runs)
    assert (code, "no scores yet" in err) == (2, True)


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Retrained and released answers to the same 200 items, and a table of what was published."""

    def write(name: str, wrong: range) -> Path:
        rows = [{"id": n, "gold": "A", "answer": "B" if n in wrong else "A"} for n in range(200)]
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)) + "\n")
        return tmp_path / name

    table = tmp_path / "table.toml"
    table.write_text(
        '[table]\nsource = "x"\n[benchmarks.medqa]\nitems = 200\nmargin = 6.0\n'
        "[models.ours]\nmedqa = 90.0\n"
    )
    return write("ours_medqa.jsonl", range(20)), write("released_medqa.jsonl", range(1, 21)), table


def test_the_triangle_tells_where_a_difference_comes_from(
    sides: tuple[Path, Path, Path], call: Call
) -> None:
    ours, released, table = sides
    given = ["verify", "--items", ours, "--reference-items", released]
    given += ["--published", table, "--model", "ours"]
    code, out, err = call(*given, "--json")
    verdict = json.loads(out)
    (drift,) = verdict["triangle"]
    assert verdict["tier"] == "retrain"
    assert drift["evaluation"]["verdict"] == "reproduced"
    assert drift["training"]["verdict"] == "equivalent"
    assert (drift["training"]["ours_only"], drift["training"]["reference_only"]) == (1, 1)
    assert "evaluation drift, reproduced" in call(*given, "--markdown", ours.parent / "v.md")[1]
    assert "- medqa, training drift, equivalent: " in (ours.parent / "v.md").read_text()

    # The harness is off by far: the released weights miss the published score as ours do.
    table.write_text(table.read_text().replace("90.0", "60.0"))
    code, out, _ = call(*given, "--json")
    (drift,) = json.loads(out)["triangle"]
    assert code == 1
    assert drift["evaluation"]["verdict"] == "not reproduced"
    assert drift["training"]["verdict"] == "equivalent"

    code, _, err = call("verify", "--reference-items", released)
    assert (code, "needs --items" in err) == (2, True)


def test_markdown_junit_and_the_pages_items(
    sides: tuple[Path, Path, Path], call: Call, tmp_path: Path
) -> None:
    ours, _, table = sides
    given = ["verify", "--items", ours, "--published", table, "--model", "ours"]
    code, _, err = call(
        *given, "--markdown", tmp_path / "v.md", "--junit", tmp_path / "v.xml",
        "--report", tmp_path / "page",
    )  # fmt: skip
    assert code == 0, err
    assert "| medqa | 90.00 | 180/200 |" in (tmp_path / "v.md").read_text()
    suite = ElementTree.parse(tmp_path / "v.xml").getroot()  # noqa: S314 - our own file
    assert (suite.get("tests"), suite.get("failures")) == ("1", "0")
    page = (tmp_path / "page" / "index.html").read_text()
    assert "The extracted answer B is not the right one, A." in page
    (tmp_path / "folder").mkdir()
    code, _, err = call(*given, "--junit", tmp_path / "folder")
    assert (code, "cannot be written" in err) == (2, True)


def test_calibrate_prints_a_table_and_json(sides: tuple[Path, Path, Path], call: Call) -> None:
    given = ["calibrate", "--published", sides[2], "--runs", "500"]
    code, out, _ = call(*given)
    assert code == 0
    assert re.search(r"nothing +90\.00 +\d", out)
    result = json.loads(call(*given, "--json", "--tier", "weights")[1])
    assert (result["tier"], result["runs"], len(result["rows"])) == ("weights", 500, 1)
    assert call(*given, "--markdown")[1] == calibration_markdown(
        calibrate(load_table(sides[2]), "ours", runs=500)
    )
    code, _, err = call("calibrate", "--published", sides[2], "--model", "uors")
    assert (code, "ours" in err) == (2, True)
    sides[2].write_text(sides[2].read_text() + "[models.other]\nmedqa = 1.0\n")
    code, _, err = call(*given)
    assert (code, "which one?" in err) == (2, True)
    sides[2].write_text('[table]\nsource = "x"\n[benchmarks.m]\n[models.a]\nm = 1.0\n')
    code, _, err = call(*given)
    assert (code, "items = N" in err) == (2, True)


@pytest.mark.parametrize("tier", ["retrain", "weights"])
def test_the_documented_calibration_is_what_the_command_prints(tier: str) -> None:
    table, model = load_table("fully-open-meditron"), "Gemma-3-27B-MeditronFO"
    # The first benchmark alone, to be quick: its draws do not depend on the others.
    printed = calibration_markdown(calibrate(table, model, ["medmcqa"], tier=tier))  # type: ignore[arg-type]
    assert printed.partition("\n\nUnparsed")[0] in DOCS.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("tier", ["retrain", "weights"])
def test_the_whole_documented_calibration(tier: str, call: Call) -> None:
    assert call("calibrate", "--tier", tier, "--markdown")[1] in DOCS.read_text()
