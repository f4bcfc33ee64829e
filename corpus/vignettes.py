"""The miniature's judged benchmarks: asked in sentences, graded by a stand-in for a judge.

Half of the drugs of each fact are asked about in HealthBench-form conversations with a rubric, the
other half in vignettes on which two models' answers are compared, some with an invented person's
vote on two further answers. The stand-in (scoring/scripted_judge.py) understands these
rubrics and knows the facts from its key; its canary holds grades that are known without any judge.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from corpus.drugs import ASKED, SEED, VALUES, WHO_ELSE, Drug, sentence

#: On which answers are compared; recipes/smoke/judged/pairs.toml asks for the same.
CRITERIA = ("Accuracy", "Relevance", "Completeness", "Reasoning", "Safety", "Fairness", "Context",
            "Communication", "Clarity")  # fmt: skip


def _said(drug: Drug) -> str:
    """Give what an answer must contain to be right; "no" alone would be found in "not"."""
    return f": {drug.value}" if drug.fact == "milk" else drug.value


def _unsaid(drug: Drug) -> list[str]:
    others = [v for v in VALUES[drug.fact] if v != drug.value]
    return [f": {v}" for v in others] if drug.fact == "milk" else others


def _quoted(phrases: Sequence[str]) -> str:
    return "says one of: " + ", ".join(f'"{phrase}"' for phrase in phrases)


def _split(drugs: Sequence[Drug]) -> tuple[list[Drug], list[Drug]]:
    """Give two halves with the same facts in each."""
    return list(drugs[::2]), list(drugs[1::2])


def build_judged(drugs: Sequence[Drug], seed: int = SEED) -> dict[str, list[dict[str, Any]]]:
    """Give the rows of healthbench, auto_moove and of the judge's canary."""
    rng = random.Random(seed + 3)  # noqa: S311
    graded, compared = _split(drugs)
    return {
        "healthbench": [_healthbench(rng, drug, graded, i) for i, drug in enumerate(graded)],
        "auto_moove": [_vignette(rng, drug, i) for i, drug in enumerate(compared)],
        "canary": [_frozen(drug, i) for i, drug in enumerate(compared[::2])],
    }


def _asked(rng: random.Random, drug: Drug, index: int) -> str:
    wordings = ASKED[drug.fact]
    question = wordings[index % len(wordings)].format(n=drug.name)
    # "Of these organs" needs a list, which is not shown here.
    return f"{sentence(rng, drug, WHO_ELSE)} {question}".replace(
        "Of these organs, which", "Which organ"
    )


def _rubric(drug: Drug) -> list[dict[str, Any]]:
    lines = (
        (_quoted([_said(drug)]), 6, "accuracy"),
        (_quoted(_unsaid(drug)), -2, "accuracy"),
        ("has at most 12 words", 2, "communication_quality"),
        (_quoted(["final answer"]), -1, "communication_quality"),  # nobody asked for a letter
    )
    return [{"criterion": text, "points": points, "tags": ["level:example", f"axis:{axis}"]}
            for text, points, axis in lines]  # fmt: skip


def _healthbench(
    rng: random.Random, drug: Drug, drugs: Sequence[Drug], index: int
) -> dict[str, Any]:
    turns = [{"role": "user", "content": _asked(rng, drug, index)}]
    if index % 8 == 7:  # some have spoken before, about another drug of the kind
        other = rng.choice([d for d in drugs if d.fact == drug.fact and d != drug])
        before = [{"role": "user", "content": _asked(rng, other, index + 1)},
                  {"role": "assistant", "content": other.statement()}]  # fmt: skip
        turns = before + turns
    return {
        "prompt_id": f"smoke-healthbench-{index:03d}",
        "prompt": turns,
        "rubrics": _rubric(drug),
        "example_tags": [f"theme:{drug.fact}"],
    }


def _vignette(rng: random.Random, drug: Drug, index: int) -> dict[str, Any]:
    row: dict[str, Any] = {"id": f"smoke-moove-{index:03d}", "prompt": _asked(rng, drug, index)}
    if index % 4 == 0:
        wrong = Drug(drug.name, drug.fact, rng.choice([v for v in VALUES[drug.fact]
                                                       if v != drug.value]))  # fmt: skip
        answers = [drug.statement(), wrong.statement()]
        rng.shuffle(answers)
        better = "1" if answers[0] == drug.statement() else "2"
        # An invented person who errs now and then, as people do.
        vote = better if index % 20 else "12"
        row |= {"firstAnswer": answers[0], "secondAnswer": answers[1], "vote": vote}
    return row


def _frozen(drug: Drug, index: int) -> dict[str, Any]:
    """Give a grade that is known without a judge: a right answer, or a wrong one."""
    line = _rubric(drug)[index % 3]
    wrong = Drug(drug.name, drug.fact, next(v for v in VALUES[drug.fact] if v != drug.value))
    right = index % 2 == 0
    met = {0: right, 1: not right, 2: True}[index % 3]
    asked = ASKED[drug.fact][-1].format(n=drug.name)
    return {
        "id": f"smoke-canary-{index:03d}",
        "messages": [{"role": "user", "content": asked},
                     {"role": "assistant", "content": (drug if right else wrong).statement()}],
        "criterion": line["criterion"], "points": line["points"], "met": met,
    }  # fmt: skip


def build_key(drugs: Sequence[Drug]) -> dict[str, Any]:
    """Give what the stand-in for a judge knows: right and wrong values, and the criteria."""
    return {
        "criteria": list(CRITERIA),
        "facts": {d.name: {"right": _said(d), "wrong": _unsaid(d)} for d in drugs},
    }
