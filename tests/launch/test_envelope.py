"""A run whose loss goes wrong is stopped; one that merely learns is never."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import KitError
from launch.run import recipe
from launch.stages import envelope
from launch.stages.envelope import Bands, Envelope, Guard, parse


def walk(guard: Guard, losses: list[float], start: int = 1) -> int | None:
    """Give the step at which training is stopped, None if it never is."""
    return next((n for n, loss in enumerate(losses, start) if guard.outside(n, loss)), None)


def learning(steps: int) -> list[float]:
    return [1.2 + 0.3 * math.exp(-n / 20) + 0.05 * (-1) ** n for n in range(steps)]


def test_a_loss_that_climbs_is_stopped_soon_after_it_left() -> None:
    losses = [*learning(60), *[1.2 * 1.05**n for n in range(60)]]
    stopped = walk(Guard(Envelope(rise=1.5)), losses)
    assert stopped is not None and 60 < stopped < 85


@given(st.lists(st.floats(0.5, 1.4), min_size=1, max_size=80), st.integers(0, 79),
       st.floats(1, 1e6))  # fmt: skip
def test_one_bad_batch_or_noise_within_the_envelope_never_stops(
    losses: list[float], at: int, spike: float
) -> None:
    # The median of 8 first losses is at least 0.5; with rise 3 nothing below 1.5 may stop it.
    losses = [*losses[:at], spike, *losses[at + 1 :]]
    assert walk(Guard(Envelope(rise=3.0)), losses) is None


def test_a_learning_rate_of_nought_is_no_reason_to_stop() -> None:
    assert walk(Guard(Envelope(rise=1.5)), [7.6] * 200) is None


def test_a_ceiling_counts_from_its_step_on() -> None:
    flat = [2.0] * 100
    assert walk(Guard(Envelope(ceilings=((50, 1.8),))), flat) == 50
    assert walk(Guard(Envelope(ceilings=((50, 2.1),))), flat) is None


def test_a_resumed_run_remembers_its_beginning() -> None:
    before = list(enumerate(learning(30), 1))
    assert walk(Guard(Envelope(rise=1.5), before), [3.0] * 20, start=31) is not None
    # Without that memory the new level would itself be taken for the beginning.
    assert walk(Guard(Envelope(rise=1.5)), [3.0] * 20, start=31) is None


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"rise": 0.9}, "factor above 1"),
        ({"rise": math.inf}, "factor above 1"),
        ({"window": 0}, "window takes a whole number >= 1, not 0"),
        (
            {"ceilings": [200, 1.8]},
            r"ceilings\[0\] takes \[a step from 1 on, a loss above 0\]",
        ),
        ({"ceilings": [[200, "low"]]}, r"ceilings\[0\]\[1\] takes a loss above 0, not 'low'"),
        ({"ceilings": [[200, math.inf]]}, "a loss above 0, not inf"),
    ],
)
def test_an_envelope_that_nothing_can_be_held_against_is_refused(
    table: dict[str, object], says: str
) -> None:
    with pytest.raises(KitError, match=says):
        parse(table)


def test_the_recipe_has_one_and_set_changes_it() -> None:
    gemma = recipe.load("gemma-3-27b")
    assert parse(gemma.table("envelope")).rise > 1
    wider = recipe.with_settings(gemma, [("envelope.rise", 3)])
    assert parse(wider.table("envelope")).rise == 3
    with pytest.raises(KitError, match="a number"):
        recipe.with_settings(gemma, [("envelope.rise", "high")])


# --- bands -------------------------------------------------------------------------------------

BANDS = {"window": 3, "corpus": "abc", "seeds": [42, 1], "steps": [[1, 2.0, 3.0], [2, 1.9, 2.9],
         [3, 1.8, 2.8], [4, 1.7, 2.7]]}  # fmt: skip


def test_a_wrong_first_step_is_stopped_at_once_with_step_value_and_band() -> None:
    guard = Guard(parse({"bands": BANDS}))
    words = guard.outside(1, 7.5)
    assert words == "the loss is 7.5; of right runs (2 seeds) it lies between 2 and 3 there"


def test_a_loss_below_its_band_is_as_wrong_as_one_above() -> None:
    assert walk(Guard(parse({"bands": BANDS})), [0.4]) == 1


def test_within_the_band_one_bad_batch_is_borne_and_two_are_not() -> None:
    assert walk(Guard(parse({"bands": BANDS})), [2.5, 2.4, 9.0, 2.2, 99.0]) is None
    assert walk(Guard(parse({"bands": BANDS})), [2.5, 2.4, 9.0, 9.0]) == 4


def test_a_resumed_run_is_held_as_if_it_had_not_stopped() -> None:
    guard = Guard(parse({"bands": BANDS}), [(1, 2.5), (2, 2.4), (3, 9.0)])
    words = guard.outside(4, 9.0)
    assert words
    assert "median loss of the last 3 steps is 9" in words


def test_bands_belong_to_their_rows_unless_they_are_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "loss.json"
    file.write_text(json.dumps(BANDS))
    table = {"rise": 1.5, "bands": str(file)}
    held, said = envelope.for_ranks(table, corpus="abc", asked=False)
    assert parse(held).bands == Bands({s: (a, b) for s, a, b in BANDS["steps"]}, 3, "abc", (42, 1))
    assert "to step 4" in said
    held, said = envelope.for_ranks(table, corpus="other", asked=False)
    assert parse(held).bands is None
    assert "other rows" in said
    held, _ = envelope.for_ranks(table, corpus="other", asked=True)
    assert parse(held).bands is not None
    assert parse(held).rise == 1.5, "what else the envelope says is held in any case"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the loss bands cannot be read"),
        ("[]", "a file of loss bands takes a table"),
        ("{}", "steps is missing"),
        ('{"window": 1, "steps": [[1, 3, 2]]}', "the loss band of step 1 goes from 3.0 to 2.0"),
        ('{"window": 0, "steps": [[1, 2, 3]]}', "window takes a whole number >= 1, not 0"),
        ('{"window": 1, "steps": [[1, 2]]}', r"steps\[0\] takes"),
        ('{"window": 1, "steps": []}', "steps takes a list that is not empty"),
        ('{"window": 1, "steps": [[1, 2, 3]], "sede": [1]}', "unknown key 'sede'; nearest: seeds"),
    ],
)
def test_a_file_that_holds_no_bands_is_named(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "loss.json"
    file.write_text(text)
    with pytest.raises(KitError, match=says) as error:
        parse({"bands": str(file)})
    assert error.value.where == str(file)
