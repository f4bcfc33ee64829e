"""Checkpoints come often enough for the time limit, and never cost more than they save."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.run.pace import Pace


def walk(limit_s: float, step_s: float, save_s: float, steps: int) -> tuple[list[int], float]:
    """Train on a stand-in clock; gives the steps that were saved, and the share spent on it."""
    pace, now, saved = Pace(limit_s), 0.0, []
    for step in range(1, steps + 1):
        now += step_s
        if pace.step(now):
            now += save_s
            pace.saved(now)
            saved.append(step)
    return saved, len(saved) * save_s / now


@given(st.floats(600, 90_000), st.floats(0.05, 120), st.floats(0.1, 400))
def test_no_more_than_a_twelfth_of_the_limit_is_lost_or_saving_costs_its_share(
    limit_s: float, step_s: float, save_s: float
) -> None:
    saved, share = walk(limit_s, step_s, save_s, 600)
    gaps = [b - a for a, b in zip([0, *saved], saved, strict=False)]
    bound = max(limit_s / 12, 20 * save_s) + 4 * step_s
    assert all(gap * step_s <= bound for gap in gaps)
    # The first one is taken to learn what saving costs; from then on it takes 5% at most.
    if len(saved) > 2 and step_s < limit_s / 60:
        assert share < 0.08
    if 600 * step_s > 2 * bound:
        assert saved, "a long training was never saved"


def test_the_interval_says_its_reason() -> None:
    cheap, dear = Pace(3600, step_s=2, save_s=1), Pace(3600, step_s=2, save_s=60)
    assert cheap.every_s == 300 and cheap.steps() == 150
    assert "a twelfth of the time limit" in cheap.words()
    assert dear.every_s == 1200
    assert "over 5%" in dear.words()


def test_nothing_is_due_before_a_step_was_measured() -> None:
    pace = Pace(60)
    assert not pace.step(1000.0)
    assert pace.steps() == 0


@pytest.mark.parametrize("limit", [0.001, 1.0])
def test_a_limit_of_seconds_still_lets_steps_pass(limit: float) -> None:
    saved, _ = walk(limit, 1.0, 0.1, 30)
    assert saved[0] >= 3
