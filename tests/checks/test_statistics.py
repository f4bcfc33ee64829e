"""Intervals and sizes: known values, coverage, and the properties that verdicts rest on."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.statistics import (
    finite_interval,
    items_needed,
    mean_interval,
    mean_items_needed,
    mean_smallest_margin,
    share_interval,
    smallest_margin,
    wilson,
)


def test_wilson_agrees_with_a_published_value() -> None:
    # Newcombe 1998, Statistics in Medicine 17:857, table I: 81 of 263.
    low, high = wilson(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert wilson(0, 20)[0] == 0.0
    assert wilson(20, 20)[1] == 1.0
    with pytest.raises(ValueError, match="no interval"):
        wilson(0, 0)


def test_the_standard_error_is_the_binomial_one() -> None:
    assert round(100 * share_interval(180, 500).standard_error, 2) == 2.15


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_estimate_and_narrows(kn: tuple[int, int]) -> None:
    k, n = kn
    low, high = wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1
    assert high > low
    wider = wilson(k, n, 0.99)
    assert wider[0] <= low
    assert wider[1] >= high
    more = wilson(10 * k, 10 * n)
    assert more[1] - more[0] < high - low


@given(st.integers(2, 3000).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n))))
def test_a_finite_set_is_never_less_certain_than_an_endless_one(sizes: tuple[int, int]) -> None:
    n, of = sizes
    for k in {0, n // 3, n}:
        low, high = finite_interval(k, n, of)
        free = wilson(k, n)
        assert low >= min(free[0], k / n) - 1e-12
        assert high <= max(free[1], k / n) + 1e-12
        assert k / of - 1e-12 <= low <= k / n <= high <= (k + of - n) / of + 1e-12
    assert finite_interval(n // 2, n, n) == (n // 2 / n, n // 2 / n)


def test_the_interval_of_a_mean() -> None:
    scores = [0.1, 0.4, 0.5, 0.9]
    found = mean_interval(scores)
    assert math.isclose(found.estimate, 0.475)
    spread = math.sqrt(sum((s - 0.475) ** 2 for s in scores) / 3 / 4)
    assert math.isclose(found.standard_error, spread)
    assert math.isclose(found.high - found.estimate, 3.182446 * spread, rel_tol=1e-6)


def test_doubled_items_do_not_look_like_twice_the_evidence() -> None:
    draw = random.Random(1)  # noqa: S311
    scores = [draw.random() for _ in range(200)]
    once = mean_interval(scores)
    names = [str(i) for i in range(200)]
    doubled = mean_interval(scores + scores, names + names)
    naive = mean_interval(scores + scores)
    assert math.isclose(doubled.standard_error, once.standard_error, rel_tol=0.01)
    assert naive.standard_error < 0.75 * once.standard_error


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("n", [1, 8])
def test_scores_that_do_not_vary_still_have_a_wide_interval(score: float, n: int) -> None:
    found = mean_interval([score] * n)
    assert found.high - found.low > 0.3 if n == 8 else 0.7
    assert found.low <= score <= found.high


def test_the_smallest_margin_holds_what_it_promises() -> None:
    draw = random.Random(5)  # noqa: S311
    for rate, n in ((0.65, 400), (0.99, 80), (0.1, 1000)):
        margin = smallest_margin(rate, n)
        inside = 0
        for _ in range(2000):
            k = sum(draw.random() < rate for _ in range(n))
            low, high = wilson(k, n)
            inside += rate - margin <= low + 1e-12 and high - 1e-12 <= rate + margin
        assert inside / 2000 > 0.77
        below = margin * 0.9
        assert margin > below


@settings(deadline=None, max_examples=40)
@given(st.floats(0.02, 0.98), st.floats(0.02, 0.2))
def test_items_needed_is_the_inverse_of_the_smallest_margin(rate: float, margin: float) -> None:
    n = items_needed(rate, margin)
    assert n is not None
    assert smallest_margin(rate, n) <= margin
    # About (1.96 + 1.28)² p (1 − p) / margin², the normal approximation, as a rough guide.
    rough = 10.5 * rate * (1 - rate) / margin**2
    assert 0.5 * rough - 50 < n < 1.5 * rough + 200


def test_what_no_number_of_items_decides() -> None:
    assert items_needed(0.5, 0.0) is None
    assert items_needed(0.5, 1e-5) is None
    assert mean_items_needed(0.01, 100, 0.0) is None


def test_means_need_fewer_items_the_less_they_vary() -> None:
    margin = mean_smallest_margin(0.01, 400)
    needed = mean_items_needed(0.01, 400, margin)
    assert needed is not None
    assert abs(needed - 400) < 10
    assert mean_smallest_margin(0.005, 400) == pytest.approx(margin / 2)
