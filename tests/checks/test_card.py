"""Cards of any names: the metadata parses, and no text breaks out of its place."""

import re
from typing import Any

import pytest
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.card import Facts, model_card
from checks.items import Item
from checks.tables import parse_table
from checks.verdict import judge

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)


def verdict(right: int = 60, model: str = "ours") -> dict[str, Any]:
    raw = {
        "table": {"source": "a test"},
        "benchmarks": {"m": {"items": 80, "margin": 9.0}},
        "models": {model: {"m": 75.0}},
    }
    items = [Item("m", str(i), float(i < right)) for i in range(80)]
    return judge(
        items={"m": items},
        table=parse_table(raw, name="t", where="t"),
        model=model,
        benchmarks=["m"],
        tier="retrain",
    )


@settings(deadline=None, max_examples=60)
@given(TEXT, TEXT, TEXT, st.integers(0, 80))
def test_any_names_give_a_card_that_parses(title: str, model: str, value: str, right: int) -> None:
    held = verdict(right, model)
    facts = Facts(title, base_model="a/b", datasets=("c/d",), recipe={value: value})
    card = ModelCard(model_card(held, facts))
    (result,) = card.data.eval_results or []
    assert result.metric_value == held["benchmarks"][0]["observed"] == 100 * right / 80
    assert card.data.model_name == title
    assert (card.data.base_model, card.data.datasets) == ("a/b", ["c/d"])
    headings = [line for line in card.text.splitlines() if line.startswith("# ")]
    assert len(headings) == 8, "no text of the recipe's begins a heading"


@pytest.mark.parametrize(
    "hostile",
    ["---\nlicense: mit\n---", "<script>alert(1)</script>", "| a | b |", "[x](javascript:y)"],
)
def test_hostile_text_stays_text(hostile: str) -> None:
    text = model_card(verdict(model=hostile), Facts(hostile, licence="gemma", data={"x": hostile}))
    card = ModelCard(text)
    assert card.data.license == "gemma"
    assert "<script>" not in card.text
    assert not re.search(r"(?<!\\)\]\(javascript", card.text)
    assert "license: mit" not in [line.strip() for line in card.text.splitlines()]


def test_what_was_not_measured_is_no_result() -> None:
    held = verdict()
    held["benchmarks"][0]["observed"] = None
    assert not ModelCard(model_card(held, Facts("t"))).data.eval_results
    assert "No licence is stated" in model_card(held, Facts("t"))
