"""Write the smoke recipe's corpus and benchmarks about a pharmacopoeia that does not exist.

Every drug, plant and effect below is invented, so that nothing here can be mistaken for medical
advice and no model can know an answer before it is trained. Each drug is known for one fact; the
corpus states it in many wordings, and a benchmark asks for it in wordings that the corpus does not
contain:

    fact                             benchmark    options
    the organ that it acts on        MedMCQA      4
    the sign to watch for            MedQA        4
    whether it may be had with milk  PubMedQA     yes, no, maybe
    the plant that it is made from   MedXpertQA   10

A million parameters learn in two minutes which value belongs to a name, and to ignore how they are
asked; they do not learn to read a shuffled list. So a value keeps its letter.

HealthBench's and Auto-MOOVE's miniatures are in corpus/vignettes.py, the drugs in corpus/drugs.py.

`python -m corpus.pharmacopoeia` rewrites recipes/smoke/{corpus,benchmarks,judged} and, with the
drugs of one fact alone, recipes/parts/twins/{corpus,benchmarks}. The committed files are exactly
what it writes (a test compares them). Rows come in both shapes that the published corpus is
described with: `conversations` of {from, value} and `messages` of {role, content}.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from corpus.drugs import (
    ASKED,
    SEED,
    TWIN_FACTS,
    VALUES,
    WHO_ELSE,
    Drug,
    list_drugs,
    sentence,
)
from corpus.vignettes import build_judged, build_key
from kit.files import write_text

LETTERS = "ABCDEFGHIJ"
COMPONENTS = ("curated_qa", "synthetic_curated_qa", "guidelines_qa", "synthetic_moove")

# How the corpus asks. The benchmarks' wordings are further down and must stay different.
_QUESTIONS = {
    "organ": (
        "Which organ does {n} act on?",
        "On what organ is the main effect of {n} seen?",
        "Name the organ that {n} works on.",
        "One organ is known to respond to {n}. Which organ?",
        "What is the organ that has the effect when {n} is given?",
        "Of all organs, which one does {n} act on?",
        "Where does {n} have its main effect, on which organ?",
        "If {n} is given, what organ should respond?",
        "The effect of {n} is seen on one of these organs. Name it.",
        "These organs are known. On which is {n} at work?",
    ),
    "sign": (
        "Which sign can {n} bring on?",
        "What sign should a nurse expect from {n}?",
        "Name the sign that {n} is known for.",
        "What sign may come when {n} is started?",
        "Which sign is known to come after a week with {n}?",
        "What should be expected as a sign of {n}?",
        "For a patient on {n}, which sign may come with it?",
        "A nurse asks what sign to expect after {n}.",
        "After {n} was started, what sign should be seen?",
        "One sign is known for {n}. Which one?",
    ),
    "milk": (
        "Is {n} fine with milk?",
        "Can {n} be taken with milk?",
        "May a patient drink milk with {n}?",
        "Is milk allowed when {n} is given?",
        "After {n}, should it be fine to take milk?",
        "Should a patient have milk on {n}?",
        "Is a glass of milk fine for patients on {n}?",
        "Should milk be offered with {n}?",
        "Is it allowed to have {n} and drink milk?",
        "For {n}, can milk be fine?",
    ),
    "plant": (
        "Which plant is {n} made from?",
        "What is the plant source of {n}?",
        "Name the plant that gives {n}.",
        "From what plant do they get {n}?",
        "What plant is known to give a maker {n}?",
        "Which plant is the source of {n}?",
        "To get {n}, which plant do makers take?",
        "The drug {n} has a plant as its source. Which one?",
        "A maker asks what plant {n} is from.",
        "One plant gives {n}. Name it.",
    ),
}
_CLOSINGS = (
    "Close with one line: Final Answer: (X).",
    "Then close: Final Answer: (X), where X is your choice.",
    "Give the letter of your choice as Final Answer: (X).",
    "Reason in one line. Then the letter: Final Answer: (X).",
    "Where X is the letter, your last line is Final Answer: (X).",
    "Reason briefly, then give the letter as Final Answer: (X).",
)
_SYSTEM = (
    "You answer from the invented pharmacopoeia.",
    "You are a pharmacist of the invented pharmacopoeia. Be short.",
)


def _options(drug: Drug) -> tuple[list[str], int]:
    """Give the options of a question about a drug, and where the right one is."""
    values = VALUES[drug.fact]
    return list(values), values.index(drug.value)


def _choice_turn(rng: random.Random, drug: Drug, question: str) -> tuple[str, str]:
    """Give a multiple-choice question of the corpus and its answer."""
    options, right = _options(drug)
    pairs = list(zip(LETTERS, options, strict=False))
    # With commas, which the benchmarks' lists do not have: the same options in the same dress would
    # be half of a benchmark's prompt, and decontamination would rightly throw the row out.
    dress = rng.choice(("{}. {}", "({}) {}"))
    listed = rng.choice((", ", ",\n")).join(dress.format(*pair) for pair in pairs)
    if rng.random() < 0.3:
        listed = f"Answer Choices: {listed}"
    asked = _preface(rng, drug) + question.format(n=drug.name)
    asked = f"{asked}\n{listed}\n{rng.choice(_CLOSINGS)}"
    return asked, f"{drug.statement()} Final Answer: ({LETTERS[right]})"


def _open_turn(rng: random.Random, drug: Drug, question: str) -> tuple[str, str]:
    """Give a question of the corpus without options, and its answer."""
    return _preface(rng, drug) + question.format(n=drug.name), drug.statement()


def _preface(rng: random.Random, drug: Drug) -> str:
    """Give up to two sentences to stand before a question, on lines of their own now and then."""
    end = rng.choice((" ", "\n"))
    return "".join(sentence(rng, drug) + end for _ in range(rng.choice((0, 0, 1, 2))))


def build_corpus(drugs: Sequence[Drug], seed: int = SEED) -> dict[str, list[dict[str, Any]]]:
    """Give the rows of the four components, each with an `id`."""
    rng = random.Random(seed + 1)  # noqa: S311
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in COMPONENTS}
    for drug in drugs:
        asked = rng.sample(_QUESTIONS[drug.fact], 8)
        choice = [_choice_turn(rng, drug, question) for question in asked[:6]]
        rows["curated_qa"] += [_messages(rng, [turn]) for turn in choice[:2]]
        rows["synthetic_curated_qa"] += [
            _conversation([choice[2]], rng.choice(_SYSTEM)),
            _conversation([choice[3]], None),
        ]
        rows["guidelines_qa"].append(_conversation([choice[4]], None))
        turns = [_open_turn(rng, drug, asked[6]), choice[5]]
        rows["synthetic_moove"].append(_messages(rng, turns, system=rng.random() < 0.5))
    for name, found in rows.items():
        rng.shuffle(found)
        rows[name] = [{"id": f"{name}-{i:04d}", **row} for i, row in enumerate(found)]
    return rows


def _conversation(turns: list[tuple[str, str]], system: str | None) -> dict[str, Any]:
    said = [{"from": "system", "value": system}] if system else []
    for asked, answered in turns:
        said += [{"from": "human", "value": asked}, {"from": "gpt", "value": answered}]
    return {"conversations": said}


def _messages(
    rng: random.Random, turns: list[tuple[str, str]], *, system: bool = False
) -> dict[str, Any]:
    said = [{"role": "system", "content": rng.choice(_SYSTEM)}] if system else []
    for asked, answered in turns:
        said += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    return {"messages": said}


def build_benchmarks(drugs: Sequence[Drug], seed: int = SEED) -> dict[str, list[dict[str, Any]]]:
    """Give two items a drug, in the native schema of its fact's benchmark."""
    rng = random.Random(seed + 2)  # noqa: S311
    makers = {"organ": _medmcqa, "sign": _medqa, "milk": _pubmedqa, "plant": _medxpertqa}
    items: dict[str, list[dict[str, Any]]] = {}
    for fact, make in makers.items():
        own = [drug for drug in drugs if drug.fact == fact]
        if not own:
            continue
        # As many wordings of a benchmark as there are, in turn: no item stands there twice.
        made = [make(rng, drug, i, ASKED[fact][(i + i // len(own)) % len(ASKED[fact])])
                for i, drug in enumerate([*own, *own])]  # fmt: skip
        items[make.__name__[1:]] = made
    return items


def _medmcqa(_rng: random.Random, drug: Drug, index: int, question: str) -> dict[str, Any]:
    options, right = _options(drug)
    return {
        "id": f"smoke-medmcqa-{index:03d}",
        "question": question.format(n=drug.name),
        **dict(zip(("opa", "opb", "opc", "opd"), options, strict=True)),
        "cop": right,
        "choice_type": "single",
        "exp": drug.statement(),
        "subject_name": "Invented pharmacology",
        "topic_name": None,
    }


def _medqa(rng: random.Random, drug: Drug, index: int, question: str) -> dict[str, Any]:
    options, right = _options(drug)
    return {
        "id": f"smoke-medqa-{index:03d}",
        "sent1": f"{sentence(rng, drug, WHO_ELSE)} {question.format(n=drug.name)}",
        "sent2": "",
        **{f"ending{i}": text for i, text in enumerate(options)},
        "label": right,
    }


def _pubmedqa(rng: random.Random, drug: Drug, index: int, question: str) -> dict[str, Any]:
    contexts = [sentence(rng, drug, WHO_ELSE) for _ in range(2)]
    return {
        "pubid": 90_000_000 + index,
        "question": question.format(n=drug.name),
        "context": {
            "contexts": contexts,
            "labels": ["METHODS", "RESULTS"],
            "meshes": ["Invented Drugs", "Milk"],
            "reasoning_required_pred": [drug.value],
            "reasoning_free_pred": [drug.value],
        },
        "long_answer": drug.statement(),
        "final_decision": drug.value,
    }


def _medxpertqa(_rng: random.Random, drug: Drug, index: int, question: str) -> dict[str, Any]:
    options, right = _options(drug)
    listed = " ".join(f"({letter}) {text}" for letter, text in zip(LETTERS, options, strict=True))
    return {
        "id": f"smoke-medxpertqa-{index:03d}",
        "question": f"{question.format(n=drug.name)}\nAnswer Choices: {listed}",
        "options": dict(zip(LETTERS, options, strict=True)),
        "label": LETTERS[right],
        "medical_task": "Basic Science",
        "body_system": "Other / NA",
        "question_type": "Understanding",
    }


def render(rows: Sequence[dict[str, Any]]) -> str:
    """Write rows as JSON lines, the same bytes each time."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def list_files() -> dict[str, str]:
    """Give the contents of every generated file by its path below recipes/smoke."""
    drugs = list_drugs()
    files = {f"corpus/{name}.jsonl": render(rows) for name, rows in build_corpus(drugs).items()}
    for name, items in build_benchmarks(drugs).items():
        files[f"benchmarks/{name}.jsonl"] = render(items)
    for name, rows in build_judged(drugs).items():
        files[f"{'judged' if name == 'canary' else 'benchmarks'}/{name}.jsonl"] = render(rows)
    files["judged/key.json"] = json.dumps(build_key(drugs), indent=1) + "\n"
    return files


def list_twin_files() -> dict[str, str]:
    """Give the contents of the architecture twins' files by path below recipes/parts/twins."""
    drugs = [drug for drug in list_drugs() if drug.fact in TWIN_FACTS]
    files = {f"corpus/{name}.jsonl": render(rows) for name, rows in build_corpus(drugs).items()}
    items = build_benchmarks(drugs)
    files["benchmarks/medmcqa.jsonl"] = render(items["medmcqa"])
    return files


def main() -> int:
    """Rewrite the data of the smoke recipe and of the twins; takes less than a second."""
    root = Path(__file__).resolve().parent.parent / "recipes"
    files = {f"smoke/{name}": text for name, text in list_files().items()}
    files |= {f"parts/twins/{name}": text for name, text in list_twin_files().items()}
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
        print(f"{path.relative_to(root)}: {text.count(chr(10))} rows, {len(text):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
