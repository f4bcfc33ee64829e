"""A run whose loss goes wrong is stopped; one that merely learns is never."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch import recipe
from launch.errors import KitError
from launch.stages.envelope import Envelope, Guard, parse


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
        ({"window": 0}, "number of steps"),
        ({"ceilings": [200, 1.8]}, "pairs"),
        ({"ceilings": [[200, "low"]]}, "pairs"),
        ({"ceilings": [[200, math.inf]]}, "pairs"),
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
