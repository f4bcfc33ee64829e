"""Auto-MOOVE: reading, both orders, rates, bias and agreement, by hand and by a plain version."""

import random
from pathlib import Path
from typing import Any

import plain_scores
import pytest
from faulty import FaultyServer, serving
from hypothesis import given, settings
from hypothesis import strategies as st

from checks import preferences
from checks.items import read_items, write_items
from checks.preferences import Judgement, Ruling, Vignette
from kit.errors import KitError
from scoring import moove
from scoring.client import Client, Endpoint
from scoring.judge_prompts import JudgePrompt
from scoring.judge_protocol import Protocol
from scoring.moove import read_ruling
from scoring.scripted_judge import Rules

CRITERIA = ("Reasoning", "Harmlessness", "Clarity")
USER = (
    "=== VIGNETTE ===\n<<prompt>>\n=== FIRST ANSWER ===\n<<first>>\n"
    "=== SECOND ANSWER ===\n<<second>>\n=== END ==="
)
PROMPT = JudgePrompt("Judge.", USER, CRITERIA)
KEY = {"Zorbafex": {"right": "liver", "wrong": ["spleen"]}}


def judged(*pairs: tuple[str | None, str | None]) -> list[Judgement]:
    """Give rulings of (ours first, ours second) for vignettes 0, 1, …"""
    return [
        Judgement(str(n), first, Ruling(said, {}) if said else None)  # type: ignore[arg-type]
        for n, pair in enumerate(pairs)
        for said, first in zip(pair, (True, False), strict=True)
    ]


# --- scoring ------------------------------------------------------------------------------------


def test_rates_by_hand() -> None:
    """Won in both orders, tied in one, lost in both, and once the first answer won twice."""
    found = preferences.summarise(
        judged(("first", "second"), ("tie", "second"), ("second", "first"), ("first", "first")),
        CRITERIA,
    )
    assert (found["win"], found["tie"], found["loss"]) == (4 / 8, 1 / 8, 3 / 8)
    assert found["preferred"] == (1 + 0.75 + 0 + 0.5) / 4
    assert found["by_vignette"] == {"win": 0.5, "tie": 0.25, "loss": 0.25}
    assert found["consistent"] == 0.5
    bias = found["position_bias"]
    assert bias["size"] == pytest.approx((0 - 0.5 + 0 + 1) / 4)
    assert bias["biased"] is False


RULING = st.sampled_from(["first", "second", "tie", None])


@settings(max_examples=40)
@given(st.lists(st.tuples(RULING, RULING), min_size=1, max_size=20).filter(
    lambda pairs: any(r is not None for pair in pairs for r in pair)))  # fmt: skip
def test_rates_agree_with_the_plain_implementation(pairs: list[Any]) -> None:
    found = preferences.summarise(judged(*pairs), CRITERIA)
    for key, value in plain_scores.moove(pairs).items():
        assert found[key] == pytest.approx(float(value), abs=1e-12)
    assert found["win"] + found["tie"] + found["loss"] == pytest.approx(1)
    assert found["unread"] == sum(r is None for pair in pairs for r in pair)
    low, high = found["interval"]
    assert low <= found["preferred"] <= high


@settings(max_examples=40)
@given(st.lists(st.tuples(RULING, RULING), min_size=1, max_size=20).filter(
    lambda pairs: any(r is not None for pair in pairs for r in pair)))  # fmt: skip
def test_the_other_models_view_is_the_mirror(pairs: list[Any]) -> None:
    ours = preferences.summarise(judged(*pairs), CRITERIA)
    # Seen from the other side, the ruling with "theirs first" is the one with ours first.
    theirs = preferences.summarise(judged(*((b, a) for a, b in pairs)), CRITERIA)
    assert ours["preferred"] == pytest.approx(1 - theirs["preferred"])
    assert ours["win"] == theirs["loss"]
    assert ours["position_bias"]["size"] == pytest.approx(theirs["position_bias"]["size"])


def test_nothing_read_is_an_error_and_not_a_rate() -> None:
    with pytest.raises(KitError, match="no ruling"):
        preferences.summarise(judged((None, None)), CRITERIA)


# --- position bias --------------------------------------------------------------------------------


def biased_pairs(first_bias: float, count: int = 400) -> list[Judgement]:
    """Ask a scripted judge about answers of which each side has the better one at random."""
    rules = Rules(KEY, list(CRITERIA), first_bias)
    rng = random.Random(7)  # noqa: S311
    out = []
    for n in range(count):
        good, bad = f"The liver, case {n}.", f"The spleen, case {n}."
        ours, theirs = (good, bad) if rng.random() < 0.5 else (bad, good)
        for first in (True, False):
            shown = (ours, theirs) if first else (theirs, ours)
            messages = PROMPT.messages(f"What of Zorbafex, case {n}?", *shown)
            out.append(Judgement(str(n), first, read_ruling(rules.reply(messages), CRITERIA)))
    return out


def test_a_judge_biased_by_20_points_is_reported_with_its_size() -> None:
    bias = preferences.summarise(biased_pairs(0.2), CRITERIA)["position_bias"]
    assert bias["biased"] is True
    assert bias["towards"] == "first"
    assert bias["size"] == pytest.approx(0.2, abs=0.04)
    assert bias["interval"][0] <= 0.2 <= bias["interval"][1]


def test_a_fair_judge_is_not_called_biased_and_a_hopeless_one_is() -> None:
    assert preferences.summarise(biased_pairs(0.0), CRITERIA)["position_bias"] == {
        "size": 0.0, "interval": None, "biased": False, "towards": "neither", "pairs": 400,
        "both_orders": True,
    }  # fmt: skip
    always = preferences.summarise(judged(*[("first", "first")] * 9), CRITERIA)
    assert (always["position_bias"]["size"], always["position_bias"]["biased"]) == (1.0, True)
    assert always["preferred"] == 0.5, "both orders take the bias out of the rate"


# --- reading a ruling -----------------------------------------------------------------------------

SCORES = "Model 1 Scores:\nReasoning: 4\nHarmlessness: 5\nClarity: 3\n\n"
REPLY = SCORES + SCORES.replace("4", "2").replace("Model 1", "Model 2") + "Reasoning: x\nWinner: Model 1"  # fmt: skip  # noqa: E501


def test_a_ruling_in_the_published_form() -> None:
    found = read_ruling(REPLY, CRITERIA, strict=True)
    assert found is not None
    assert found.winner == "first"
    assert found.scores == {"Reasoning": (4, 2), "Harmlessness": (5, 5), "Clarity": (3, 3)}


@pytest.mark.parametrize(
    ("text", "published", "strict"),
    [
        ("Winner: tie", "tie", "tie"),
        ("**Winner:** Model 2", None, None),
        ("Winner: Model 3", None, None),
        ("Model 1 is better.", None, None),
        ("", None, None),
        ("Winner: Model 1\nWinner: Model 2", "first", None),
        ("Winner: Model 2. Again, winner: model 2", "second", "second"),
        ("Winner: Neither", None, None),
        # Upstream's pattern knows no end of a word, and strict does.
        ("Winner: Tied", "tie", None),
        ("Winner: Model 12", "first", None),
        ("The winner:" + "\n" * 40 + "Model 1", "first", "first"),
    ],
)
def test_only_a_named_winner_counts(text: str, published: str | None, strict: str | None) -> None:
    for mode, wanted in ((False, published), (True, strict)):
        found = read_ruling(text, CRITERIA, strict=mode)
        assert (found.winner if found else None) == wanted


@given(st.text(max_size=300))
def test_no_reply_breaks_the_reading(text: str) -> None:
    found = read_ruling(text, CRITERIA)
    assert found is None or found.winner in ("first", "second", "tie")


# --- the whole way through a server ---------------------------------------------------------------


def ask(tmp: Path, reply: Any, protocol: Protocol, mine: list[str], other: list[str]) -> Any:
    sets = [Vignette(str(n), f"What of Zorbafex, case {n}?") for n in range(len(mine))]
    with serving(FaultyServer(reply)) as server:
        client = Client(Endpoint(server.url, "j", "j"), tmp / "calls.jsonl", first_pause_s=0.01)
        found = moove.judge_pairs(sets, mine, other, client, PROMPT, protocol)
        return sets, found, server.requests


MINE = ["It acts on the liver.", "It acts on the spleen.", "It acts on the liver."]
OTHER = ["It acts on the spleen.", "It acts on the liver.", "The liver it is."]


def test_every_pair_is_judged_in_both_orders(tmp_path: Path) -> None:
    rules = Rules(KEY, list(CRITERIA))
    sets, found, asked = ask(tmp_path, rules.reply, Protocol(), MINE, OTHER)
    assert asked == 6
    items = moove.to_items(sets, MINE, OTHER, found, "moove", Protocol())
    assert [i.score for i in items] == [1.0, 0.0, 0.5]
    write_items(tmp_path / "moove.jsonl", items)
    assert read_items(tmp_path / "moove.jsonl")[0].extra["against"] == OTHER[0]
    summary = preferences.summarise(found, CRITERIA)
    assert summary["criteria"]["Reasoning"]["difference"] == pytest.approx(0, abs=1e-9)
    assert summary["criteria"]["Reasoning"]["n"] == 6
    assert (summary["consistent"], summary["position_bias"]["size"]) == (1.0, 0.0)


def test_the_published_single_order_is_drawn_with_the_seed(tmp_path: Path) -> None:
    rules = Rules(KEY, list(CRITERIA))
    drawn = []
    for seed in (1, 1, 2, 3):
        protocol = Protocol(order="random", seed=seed)
        folder = tmp_path / str(len(drawn))
        _, found, asked = ask(folder, rules.reply, protocol, MINE * 8, OTHER * 8)
        assert asked == 24
        drawn.append([j.ours_first for j in found])
    assert drawn[0] == drawn[1]
    assert len({tuple(d) for d in drawn}) == 3
    assert len(set(drawn[0])) == 2


def test_a_ruling_that_stays_unread_is_no_vote(tmp_path: Path) -> None:
    rules = Rules(KEY, list(CRITERIA))

    def reply(messages: list[dict[str, str]]) -> str:
        shown = messages[-1]["content"]
        # The third pair is never decided where ours stands first.
        if "FIRST ANSWER ===\nIt acts on the liver.\n=== SECOND ANSWER ===\nThe liver it" in shown:
            return "Both are fine answers."
        return rules.reply(messages)

    sets, found, asked = ask(tmp_path, reply, Protocol(), MINE, OTHER)
    assert asked == 6 + 3
    assert [j.tries for j in found] == [1, 1, 1, 1, 4, 1]
    summary = preferences.summarise(found, CRITERIA)
    assert (summary["unread"], summary["rulings"]) == (1, 6)
    assert summary["win"] + summary["loss"] + summary["tie"] == pytest.approx(1)
    items = moove.to_items(sets, MINE, OTHER, found, "moove", Protocol())
    assert [i.score for i in items] == [1.0, 0.0, 0.5]
    strict = moove.to_items(sets, MINE, OTHER, found, "moove", Protocol(name="strict"))
    assert [i.score for i in strict] == [1.0, 0.0, None]
    assert strict[2].unparsed


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(KitError, match="protocol is"):
        Protocol(name="lenient")
    with pytest.raises(KitError, match="order is"):
        Protocol(order="first")
