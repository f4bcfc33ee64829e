"""How far each choice of the protocol moves a score: hand-made items, a plain count beside it."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks.items import Item
from checks.report.sensitivity import compared, markdown, show, show_compared
from checks.sensitivity import ask, compare, outline, sensitivity
from checks.tables import load_table
from kit.errors import KitError

MIRAGE = load_table(Path(__file__).parent / "data" / "mirage-gpt-3.5.toml")


def item(
    identity: str, gold: str, answer: str | None, response: str | None, **more: object
) -> Item:
    return Item("medqa", identity, float(answer == gold), gold=gold, answer=answer,
                unparsed=answer is None, response=response, **more)  # type: ignore[arg-type]  # fmt: skip


ITEMS = [
    item("both", "B", "B", "Final Answer: (B)"),
    item("first", "C", "C", "the answer is a puzzle. Final Answer: (C)"),  # published reads A
    item("late", "C", "C", "Final Answer: The correct choice is (C)"),  # published reads nothing
    item("corrected", "A", "A", "Final Answer: (A). No. Final Answer: (B)"),  # robust reads B
    item("silent", "A", None, "I cannot tell."),
    item("silent too", "D", None, ""),
]


def scores(found: dict[str, object]) -> dict[str, tuple[object, ...]]:
    return {
        v["name"]: (v["right"], v["gained"], v["lost"], v["unparsed"])
        for v in found["variants"]  # type: ignore[attr-defined]
    }


def test_each_rule_by_hand() -> None:
    (found,) = sensitivity({"medqa": ITEMS}, MIRAGE, "gpt-3.5-cot")
    assert (found["title"], found["published"], found["items"]) == ("MedQA", 65.04, 6)
    assert scores(found) == {
        "as scored": (4, 0, 0, 2),
        "published": (2, 0, 2, 3),
        "robust": (3, 0, 1, 2),
        "missing is A": (5, 1, 0, 0),
    }
    assert found["variants"][1]["score"] == pytest.approx(100 * 2 / 6, abs=1e-4)
    assert found["variants"][1]["difference"] == pytest.approx(-100 * 2 / 6, abs=1e-3)
    assert {row["id"]: (row["published"], row["robust"]) for row in found["changed"]} == {
        "first": ("A", "C"), "late": (None, "C"), "corrected": ("A", "B"), "silent": (None, None)
    }  # fmt: skip
    assert [c["choice"] for c in found["cannot"]] == ["chat template"]


LETTERS = st.sampled_from("ABCD")
RESPONSES = st.builds(
    lambda a, b, between: f"The answer is {a}. {between} Final Answer: ({b})", LETTERS, LETTERS,
    st.sampled_from(["", "But wait.", "so\n\n"]),
)  # fmt: skip


@given(st.lists(st.tuples(LETTERS, RESPONSES), min_size=1, max_size=30))
def test_the_counts_are_those_of_a_plain_loop(given_: list[tuple[str, str]]) -> None:
    items = [item(str(n), gold, "A", text) for n, (gold, text) in enumerate(given_)]
    (found,) = sensitivity({"medqa": items})
    # By construction: the first letter is written after "answer is", the last one in brackets.
    first = [text.split("answer is ")[1][0] for _, text in given_]
    last = [text.split("Final Answer: (")[1][0] for _, text in given_]
    for rule, read in (("published", first), ("robust", last)):
        right = sum(letter == gold for letter, (gold, _) in zip(read, given_, strict=True))
        assert scores(found)[rule][0] == right
    moved = {
        str(n)
        for n, (gold, _) in enumerate(given_)
        if len({gold == "A", first[n] == gold, last[n] == gold}) == 2
    }
    assert {row["id"] for row in found["changed"]} == moved


def test_the_500_of_pubmedqa_out_of_all() -> None:
    whole = [
        dataclasses.replace(one, benchmark="pubmedqa", extra={"listed": n % 2 == 0})
        for n, one in enumerate(ITEMS)
    ]
    (found,) = sensitivity({"pubmedqa": whole})
    listed = next(v for v in found["variants"] if v["name"] == "listed")
    assert (listed["items"], listed["right"]) == (3, 2)
    assert listed["difference"] == pytest.approx(100 * (2 / 3 - 4 / 6), abs=1e-3)
    for items, why in (
        (whole[::2], "the others were not asked"),
        ([dataclasses.replace(i, extra={}) for i in whole], "do not say which"),
    ):
        (found,) = sensitivity({"pubmedqa": items})
        (choice,) = [c for c in found["cannot"] if c["choice"].startswith("PubMedQA")]
        assert why in choice["why"]


def test_without_responses_nothing_can_be_tried_and_it_says_so() -> None:
    silent = [item(str(n), "A", "A", None) for n in range(3)]
    with pytest.raises(KitError, match="no choice of the protocol") as caught:
        ask(sensitivity({"medqa": silent}))
    assert "no item has a response" in caught.value.cause
    some = [*silent, item("x", "A", "A", "Answer: A")]
    with pytest.raises(KitError) as caught:
        ask(sensitivity({"medqa": some}))
    assert "3 of 4 items lack a response" in caught.value.cause
    rubric = [Item("rubric", "1", 0.5, response="a text")]
    with pytest.raises(KitError) as caught:
        ask(sensitivity({"rubric": rubric}))
    assert "none of them is multiple choice" in caught.value.cause
    assert outline(sensitivity({"medqa": silent})) == []


def test_two_protocols_are_compared_item_by_item() -> None:
    other = [dataclasses.replace(ITEMS[0], answer="A", score=0.0, response="Answer: A"), *ITEMS[1:]]
    (found,) = compare({"medqa": ITEMS}, {"medqa": other})
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == ["as scored", "published", "robust"]
    assert (rows["as scored"]["ours_only"], rows["as scored"]["theirs_only"]) == (1, 0)
    assert rows["robust"]["difference"] == pytest.approx(100 / 6, abs=1e-3)
    assert rows["published"]["ours"] == pytest.approx(100 * 2 / 6, abs=1e-3)
    with pytest.raises(KitError, match="share no multiple-choice benchmark"):
        compare({"medqa": ITEMS}, {"medmcqa": ITEMS})
    with pytest.raises(KitError, match="share no item"):
        compare({"medqa": ITEMS[:1]}, {"medqa": ITEMS[1:2]})
    with pytest.raises(KitError, match="right answer B on one side and C"):
        compare({"medqa": ITEMS}, {"medqa": [dataclasses.replace(ITEMS[0], gold="C")]})


def test_hostile_text_stays_text(capsys: pytest.CaptureFixture[str]) -> None:
    odd = dataclasses.replace(ITEMS[1], id="\x1b[31m| <script>")
    found = sensitivity({"medqa": [odd, *ITEMS[2:]]})
    show(found)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "published: the first match" in out
    text = markdown(found)
    assert "\\| &lt;script>" in text
    assert "\x1b" not in text
    pairs = compare({"medqa": ITEMS}, {"medqa": ITEMS})
    show_compared(pairs)
    assert capsys.readouterr().out.split().count("66.67") == 2
    assert "| as scored | 66.67 | 66.67 |" in compared(pairs, ["a", "b"])
