"""The judge among people: kappa with their panel, and its place among the raters."""

import random
from collections import Counter, defaultdict
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from checks.judge_lines import judged_lines
from checks.preferences import Judgement, Ruling, Vignette, Vote, Winner
from checks.rater_agreement import LEAST, agreement, kappa, panel

WINNERS: tuple[Winner, ...] = ("first", "second", "tie")


def voted(n: int, *votes: tuple[str, Winner]) -> Vignette:
    return Vignette(str(n), "?", ("a", "b"), tuple(Vote(w, rater) for rater, w in votes))


def ruled(*winners: Winner | None) -> list[Judgement]:
    """Give one ruling a vignette, the first answer shown first."""
    return [Judgement(str(n), True, Ruling(w, {}) if w else None) for n, w in enumerate(winners)]


def test_agreement_with_people_by_hand() -> None:
    """Cohen 1960: observed agreement 0.7, by chance 0.5, kappa 0.4."""
    votes: list[Winner] = ["first"] * 20 + ["second"] * 5 + ["first"] * 10 + ["second"] * 15
    rulings: list[Winner] = ["first"] * 25 + ["second"] * 25
    found = agreement([voted(n, ("", v)) for n, v in enumerate(votes)], ruled(*rulings))
    assert found is not None
    assert (found["n"], found["votes"], found["raters"], found["agree"]) == (50, 50, 0, 0.7)
    assert found["kappa"] == pytest.approx(0.4)
    assert found["interval"][0] < 0.4 < found["interval"][1]
    assert found["as_rater"] is None


def test_agreement_without_votes_or_without_variety() -> None:
    assert agreement([Vignette("0", "?")], ruled("first")) is None
    assert agreement([voted(0, ("a", "first"))], ruled(None)) is None
    found = agreement([voted(0, ("", "first"))], ruled("first"))
    assert found is not None
    assert (found["agree"], found["kappa"]) == (1.0, None)


@pytest.mark.parametrize(
    ("votes", "verdict"),
    [("f", "first"), ("ff", "first"), ("fs", "tie"), ("fst", "tie"), ("ffs", "first"),
     ("ttf", "tie"), ("ffss", "tie"), ("fftts", "tie"), ("sst", "second")],
)  # fmt: skip
def test_a_panels_verdict_is_its_most_frequent_vote(votes: str, verdict: str) -> None:
    names: dict[str, Winner] = {"f": "first", "s": "second", "t": "tie"}
    assert panel([names[v] for v in votes]) == verdict
    with pytest.raises(ValueError, match="without a vote"):
        panel([])


PAIRS = st.lists(st.tuples(st.sampled_from(WINNERS), st.sampled_from(WINNERS)), min_size=1,
                 max_size=30)  # fmt: skip


@given(PAIRS)
def test_kappa_is_scikit_learns_where_that_is_defined(pairs: Any) -> None:
    one, other = zip(*pairs, strict=True)
    if len({*one, *other}) > 1:
        assert kappa(pairs) == pytest.approx(cohen_kappa_score(one, other))
    else:
        assert kappa(pairs) == 1.0


# --- as one of the raters -------------------------------------------------------------------------


def plain(sets: list[Vignette], rulings: list[Winner], classes: tuple[Winner, ...]) -> Any:
    """Do it a second time, in fractions: each rater's kappa, and the judge's."""

    def verdict(votes: list[Winner]) -> Winner:
        count = {c: votes.count(c) for c in WINNERS}
        best = max(count.values())
        winners = [c for c in WINNERS if count[c] == best]
        return winners[0] if len(winners) == 1 else "tie"

    def kappa(pairs: list[tuple[Winner, Winner]]) -> Fraction:
        n = len(pairs)
        same = Fraction(sum(a == b for a, b in pairs), n)
        left, right = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
        chance = sum((Fraction(left[c] * right[c], n * n) for c in classes), Fraction(0))
        return Fraction(1) if chance == 1 else (same - chance) / (1 - chance)

    people: dict[str, list[Any]] = defaultdict(list)
    judge = []
    for one, said in zip(sets, rulings, strict=True):
        if len(one.votes) < 2:
            continue
        for n, vote in enumerate(one.votes):
            others = [v.winner for m, v in enumerate(one.votes) if m != n]
            people[vote.rater].append((vote.winner, verdict(others)))
        judge.append((said, verdict([v.winner for v in one.votes])))
    within = [p for p in judge if set(p) <= set(classes)]
    kappas = {}
    for rater, pairs in people.items():
        own = [p for p in pairs if set(p) <= set(classes)]
        if len(own) >= LEAST:
            kappas[rater] = (len(own), kappa(own))
    return kappas, (len(within), kappa(within)) if within else None


@settings(max_examples=12)
@given(st.integers(0, 10**6), st.integers(2, 6), st.floats(0.2, 1))
def test_raters_and_judge_agree_with_the_plain_implementation(
    seed: int, raters: int, skill: float
) -> None:
    rng = random.Random(seed)  # noqa: S311
    sets, rulings = [], []
    for n in range(40):
        truth = rng.choice(WINNERS)
        votes = [(str(r), truth if rng.random() < skill else rng.choice(WINNERS))
                 for r in range(raters) if rng.random() < 0.7]  # fmt: skip
        sets.append(voted(n, *votes))
        rulings.append(truth if rng.random() < 0.6 else rng.choice(WINNERS))
    found = agreement(sets, ruled(*rulings))
    assert found is not None
    if found["as_rater"] is None:
        assert all(len(s.votes) < 2 for s in sets)
        return
    for name, classes in (("with_ties", WINNERS), ("without_ties", WINNERS[:2])):
        people, judge = plain(sets, rulings, classes)
        one = found["as_rater"][name]
        assert {r["rater"]: r["n"] for r in one["raters"]} == {k: n for k, (n, _) in people.items()}
        for row in one["raters"]:
            assert row["kappa"] == pytest.approx(float(people[row["rater"]][1]), abs=1e-9)
        assert (one["judge"] is None) == (judge is None)
        if judge:
            assert one["judge"]["n"] == judge[0]
            assert one["judge"]["kappa"] == pytest.approx(float(judge[1]))
        if one["z"] is not None:
            low, high = one["mean"] - 2 * one["sd"], one["mean"] + 2 * one["sd"]
            assert one["within"] == (low <= one["judge"]["kappa"] <= high)


def crowd(judge_skill: float) -> dict[str, Any]:
    """Twelve people who are right in three votes of four, and a judge that is right so often."""
    rng = random.Random(3)  # noqa: S311
    sets, rulings = [], []
    for n in range(200):
        truth = rng.choice(WINNERS[:2])
        who = rng.sample(range(12), 4)
        votes = [(str(r), truth if rng.random() < 0.75 else rng.choice(WINNERS)) for r in who]
        sets.append(voted(n, *votes))
        rulings.append(truth if rng.random() < judge_skill else rng.choice(WINNERS))
    found = agreement(sets, ruled(*rulings))
    assert found is not None
    return found


def test_a_judge_like_the_people_is_among_them_and_a_coin_is_not() -> None:
    like, coin = crowd(0.75), crowd(0.0)
    for name in ("with_ties", "without_ties"):
        one = like["as_rater"][name]
        assert (len(one["raters"]), one["within"]) == (12, True)
        low, high = one["judge"]["interval"]
        assert low < one["judge"]["kappa"] < high
        assert coin["as_rater"][name]["within"] is False
        assert coin["as_rater"][name]["above"] == 0.0
    assert crowd(0.75) == like, "the bootstrap has a seed"


def test_the_words_say_where_the_judge_stands() -> None:
    base = {"kind": "pairs", "win": 0.5, "tie": 0.2, "loss": 0.3, "order": "both", "rulings": 8,
            "vignettes": 4, "by_vignette": {"win": 0.5, "tie": 0.25, "loss": 0.25},
            "consistent": 1.0, "unread": 0, "retried": 0, "too_long": 2,
            "position_bias": {"size": 0.0, "interval": None, "biased": False, "towards": "neither",
                              "pairs": 4, "both_orders": True}}  # fmt: skip
    said = judged_lines({"judged": {**base, "agreement": crowd(0.0)}})
    assert "2 prompts were longer than the model's window: empty answers." in said
    assert any("of 200 pairs (800 votes), Cohen's kappa" in line for line in said)
    placed = [line for line in said if line.startswith("As one of the raters")]
    assert len(placed) == 2
    assert "outside two standard deviations" in placed[0]
    few = agreement([voted(0, ("a", "first"), ("b", "first"))], ruled("first"))
    said = judged_lines({"judged": {**base, "agreement": few}})
    assert any("0 people voted often enough" in line for line in said)
