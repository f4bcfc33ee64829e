"""Two runs' losses, step by step: where they part, and every way in which a curve can be odd."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from kit.errors import KitError
from launch.cli.compare import BARS, spark
from launch.run import compare
from launch.run.folder import Run

Make = Callable[..., Run]
Call = Callable[..., tuple[int, str, str]]


def rows(losses: list[Any], first: int = 1, **more: Any) -> list[dict[str, Any]]:
    return [
        {"step": first + n, "of": 40, "time": 100.0 + 2 * n, "loss": loss, "grad_norm": 1.0,
         "learning_rate": 1e-3, **more}
        for n, loss in enumerate(losses)
    ]  # fmt: skip


def log(run: Run, *parts: list[dict[str, Any]], tail: str = "") -> Run:
    run.folder("train").mkdir(exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for part in parts for row in part)
    (run.folder("train") / "progress.jsonl").write_text(text + tail)
    return run


@pytest.fixture
def pair(new_run: Make) -> tuple[Run, Run]:
    return new_run(("corpus", "train")), new_run(("corpus", "train"))


FALLING = [5 / n for n in range(1, 41)]


def both(pair: tuple[Run, Run], bound: float = 0.01) -> compare.Comparison:
    return compare.compare(compare.read(pair[0]), compare.read(pair[1]), bound)


def test_equal_curves_are_the_same_to_the_last_digit(pair: tuple[Run, Run]) -> None:
    log(pair[0], rows(FALLING))
    log(pair[1], rows(FALLING))
    found = both(pair)
    assert found.headline() == "the same to the last digit, in all 40 shared steps"
    assert (found.first, found.parted, found.notes) == ({}, None, [])
    assert found.one.step_s == 2.0


def test_the_first_digit_and_the_bound_are_told_apart(pair: tuple[Run, Run]) -> None:
    other = [v + (1e-9 if n >= 7 else 0) + (0.5 if n >= 20 else 0) for n, v in enumerate(FALLING)]
    log(pair[0], rows(FALLING))
    log(pair[1], rows(other))
    found = both(pair)
    assert found.first == {"loss": 8}
    assert found.parted == 21
    assert both(pair, bound=0.6).parted is None
    assert "most at step" in both(pair, bound=0.6).headline()


def test_a_gradient_that_differs_first_is_named(pair: tuple[Run, Run]) -> None:
    log(pair[0], rows(FALLING))
    log(pair[1], rows(FALLING[:4]), rows(FALLING[4:], 5, grad_norm=1.5))
    assert both(pair).first == {"grad_norm": 5}


def test_a_resumed_step_counts_as_it_was_logged_last(pair: tuple[Run, Run]) -> None:
    log(pair[0], rows(FALLING))
    log(pair[1], rows([*FALLING[:25], 99.0]), rows(FALLING[20:], 21))
    found = both(pair)
    assert found.parted is None
    (note,) = found.notes
    assert "6 steps between 21 and 26 were done again, 1 with another loss, first step 26" in note
    log(pair[1], rows(FALLING[:25]), rows(FALLING[20:], 21))
    assert "to the same losses" in both(pair).notes[0]


@pytest.mark.parametrize("odd", ["nan", "inf", None, True])
def test_a_loss_that_is_no_number_never_agrees(pair: tuple[Run, Run], odd: Any) -> None:
    for run in pair:
        log(run, rows([*FALLING[:9], odd, *FALLING[10:]]))
    found = both(pair)
    assert found.parted == found.first["loss"] == 10
    assert len([n for n in found.notes if "no number in 1 steps, first in step 10" in n]) == 2
    assert found.largest == (1, 0.0)


def test_lengths_and_plans_that_differ_are_said(pair: tuple[Run, Run]) -> None:
    log(pair[0], rows(FALLING))
    log(pair[1], rows(FALLING[:12], of=12))
    found = both(pair)
    assert found.parted is None
    assert any("they plan 40 and 12 steps" in note for note in found.notes)
    assert any("12 are in both" in note for note in found.notes)
    log(pair[1], rows(FALLING[:12]))
    assert any("not come to its end: step 12 of 40" in note for note in both(pair).notes)


def test_a_torn_line_is_counted_and_the_summary_is_no_step(pair: tuple[Run, Run]) -> None:
    log(pair[0], rows(FALLING), [{"step": 40, "train_loss": 1.0}])
    log(pair[1], rows(FALLING), tail='{"step": 41, "lo\n[1]\n{"step": "x", "loss": 1}\n')
    found = both(pair)
    assert found.shared == list(range(1, 41))
    assert any("2 lines of its progress cannot be read" in note for note in found.notes)


def test_what_cannot_be_compared_is_one_clear_error(
    pair: tuple[Run, Run], new_run: Make, call: Call, tmp_path: Path
) -> None:
    runs = ("--runs", tmp_path / "runs")
    log(pair[0], rows(FALLING))
    cases = {
        pair[1].name: "has logged no training step: its training is waiting",
        new_run().name: "has no training",
        pair[0].name: "cannot be compared with itself",
        "nope": "no run 'nope'",
        log(new_run(("corpus", "train")), rows(FALLING, 90)).name: "share no step: 1 to 40 and 90",
    }
    for name, says in cases.items():
        code, out, err = call("compare", pair[0].name, name, *runs)
        assert (code, out) == (2, ""), name
        assert says in err
    log(pair[1], rows(FALLING))
    (tmp_path / "file").write_text("")
    code, _, err = call("compare", *[r.name for r in pair], "--out", tmp_path / "file" / "x.html",
                        *runs)  # fmt: skip
    assert code == 2
    assert "cannot be written" in err


def test_the_command_shows_table_page_and_what_differs(
    pair: tuple[Run, Run], call: Call, tmp_path: Path
) -> None:
    pair[1].spec["recipe"]["data"]["train"]["learning_rate"] = "<b>1</b>"
    import tomli_w

    (pair[1].path / "run.toml").write_text(tomli_w.dumps(pair[1].spec))
    log(pair[0], rows(FALLING))
    log(pair[1], rows([v + (0.1 if n > 29 else 0) for n, v in enumerate(FALLING)]))
    names = [r.name for r in pair]
    code, out, _ = call("compare", *names, "--runs", tmp_path / "runs")
    assert code == 1
    assert re.search(r"^ +31 .*<- beyond the bound$", out, re.MULTILINE)
    assert re.search(r"frozen in both, and not the same: 1\n  train.learning_rate +1e-06  \|", out)
    page = (pair[0].path / "report" / f"compare-{names[1]}.html").read_text()
    assert "&lt;b&gt;1&lt;/b&gt;" in page
    assert "<b>1</b>" not in page
    assert page.count("<polyline") >= 4
    assert "they part at step 31" in page
    code, out, _ = call("compare", *names, "--json", "--bound", "1", "--runs", tmp_path / "runs",
                        "--out", tmp_path / "curve.svg")  # fmt: skip
    assert code == 0
    found = json.loads(out)
    assert found["parted"] is None
    assert found["first_apart"] == {"loss": 31}
    assert len(found["steps"]) == 40
    svg = (tmp_path / "curve.svg").read_text()
    assert svg.startswith('<svg xmlns="http://www.w3.org/2000/svg"')


def test_another_checkout_of_the_kit_is_no_difference(pair: tuple[Run, Run]) -> None:
    data = pair[1].spec["recipe"]["data"]
    data["model"]["shape"] = "/elsewhere/kit/recipes/gemma-3-27b/shape.json"
    assert compare.differing(*pair) == {}
    data["model"]["shape"] = "/elsewhere/kit/recipes/olmo-2-32b/shape.json"
    assert compare.differing(*pair) == {
        "model.shape": ("recipes/gemma-3-27b/shape.json", "recipes/olmo-2-32b/shape.json")
    }


def test_run_compare_is_refused_before_anything_is_spent(
    pair: tuple[Run, Run], call: Call, tmp_path: Path
) -> None:
    before = len(list((tmp_path / "runs").iterdir()))
    for more, says in (
        (["--compare", "nope"], "no run 'nope'"),
        (["--compare", pair[0].name], "logged no training step"),
        (["--compare", pair[0].name, "--seeds", "2"], "--compare waits for one run"),
    ):
        code, _, err = call("run", "smoke", *more, "--runs", tmp_path / "runs")
        assert code == 2
        assert says in err
    assert len(list((tmp_path / "runs").iterdir())) == before


def test_a_spark_shows_what_is_no_number() -> None:
    assert spark([0.0, 1.0, float("nan")], 0.0, 1.0) == BARS[0] + BARS[-1] + "!"
    assert len(spark([1.0] * 500, 0.0, 1.0)) == 60


def test_the_bound_on_the_command_line_is_the_module_s() -> None:
    from launch.cli.compare import compare as command

    assert {p.name: p.default for p in command.params}["bound"] == compare.BOUND


def test_no_shared_step_is_an_error_of_its_own() -> None:
    with pytest.raises(KitError, match="share no step"):
        compare.compare(
            compare.Curve("a", {1: {"loss": 1.0}}), compare.Curve("b", {2: {"loss": 1.0}})
        )


def test_a_figure_bridges_no_gap_and_logarithms_need_what_is_above_0() -> None:
    from checks.report.lines import Axis, Series, chart, standalone

    nan = float("nan")
    points = [(1, 1.0), (2, 10.0), (3, nan), (4, 100.0), (5, 0.0), (6, 5.0), (7, 7.0)]
    figure = chart(
        [Series("<a>", points)], x=Axis("x"), y=Axis("y", log=True), width=400, title="t"
    )
    assert figure.count("<polyline") == 2
    assert figure.count('<circle class="d0"') == 1, "a point between two gaps is seen as well"
    assert "&lt;a&gt;" in figure
    assert chart([Series("a", [(1, nan)])], x=Axis("x"), y=Axis("y"), width=400, title="t") == ""
    assert ElementTree.fromstring(standalone(figure)).tag.endswith("svg")  # noqa: S314  our own
