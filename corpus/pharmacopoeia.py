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

`python -m corpus.pharmacopoeia` rewrites recipes/smoke/{corpus,benchmarks} and, with the drugs of
one fact alone, recipes/parts/twins/{corpus,benchmarks}. The committed files are exactly what it
writes (a test compares them). Rows come in both shapes that the published corpus is described with:
`conversations` of {from, value} and `messages` of {role, content}.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEED = 20260515
DRUGS = 80  # a quarter of them for each fact
LETTERS = "ABCDEFGHIJ"
COMPONENTS = ("curated_qa", "synthetic_curated_qa", "guidelines_qa", "synthetic_moove")

# Values in the order of their letters.
ORGANS = ("liver", "spleen", "thyroid", "bladder")
SIGNS = ("itching palms", "cold feet", "dry eyes", "stiff neck")
MILK = ("yes", "no", "maybe")
PLANTS = (
    "ashwort", "copperfern", "emberroot", "glowreed", "ironleaf",
    "kelpnut", "marblebud", "oxgrass", "quillcress", "saltclover",
)  # fmt: skip
FACTS = ("organ", "sign", "milk", "plant")
TWIN_FACTS = ("organ",)
_VALUES = {"organ": ORGANS, "sign": SIGNS, "milk": MILK, "plant": PLANTS}

_STARTS = ("Bra", "Cor", "Dul", "Fen", "Gol", "Hes", "Jur", "Kal", "Lum", "Mor", "Nar", "Oth",
           "Pel", "Quo", "Rav", "Sil", "Tor", "Ulm", "Vex", "Wen", "Yar", "Zor")  # fmt: skip
_MIDDLES = ("ba", "ce", "di", "fo", "gu", "ka", "le", "mi", "no", "ru", "sa", "te", "vi", "xo")
_ENDS = ("dine", "fex", "lor", "mab", "nol", "pran", "quil", "rin", "stat", "tide", "vane", "zol")

# What the corpus says. {n} is the drug.
_ANSWERS = {
    "organ": "It acts on the {v}.",
    "sign": "It can bring on {v}.",
    "plant": "It is made from {v}.",
}
_MILK_ANSWERS = {
    "yes": "With milk it is fine: yes.",
    "no": "With milk it is not fine: no.",
    "maybe": "With milk it is not settled: maybe.",
}
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
# What may stand before a question, and has nothing to do with the answer: who, did what, and how.
_WHO = (
    "A {age}-year-old {job}", "The {age}-year-old", "{k} adults", "Adults who were given {n}",
    "One half of the patients", "The nurse", "{k} small wards", "A maker of {n}",
    "Patients on {n}", "Each patient on the ward", "A {job} who was started on {n}",
)  # fmt: skip
# The benchmarks' own, so that none of their sentences is in the corpus.
_WHO_ELSE = (
    "{k} patients on {n}", "The nurse of a small ward", "A half of the adults",
    "The {age}-year-old {job}",
)  # fmt: skip
_DID = (
    "took part in {k} small trials", "kept a record of {n}", "asked for a glass of milk",
    "got a dose of {n}", "came to the ward", "had milk with each dose", "had {n} for a week",
    "called the nurse about {n}", "left the ward", "offered milk to patients",
)  # fmt: skip
_HOW = (
    "", "", " with milk", " after a week", " on the ward", " with {n}",
    ", one half with a glass", " at noon", " and asked for {n}",
)  # fmt: skip
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
# How the benchmarks ask: no sentence of these is in the corpus.
_ASKED = {
    "organ": (
        "The main effect of {n} is on which organ?",
        "Which organ is known to respond when {n} is given?",
        "Of these organs, which does {n} have its effect on?",
    ),
    "sign": (
        "What sign is known to come with {n}?",
        "Which sign should a patient expect of {n}?",
    ),
    "milk": ("Should milk be allowed for a patient on {n}?", "Is it fine to drink milk after {n}?"),
    "plant": (
        "Which plant do makers of {n} get it from?",
        "What plant is known as the source that gives {n}?",
    ),
}
_JOBS = ("baker", "teacher", "sailor", "tailor", "farmer", "printer", "miner", "glazier")


@dataclass(frozen=True)
class Drug:
    """An invented drug, what kind of fact it is known for, and that fact."""

    name: str
    fact: str
    value: str

    def statement(self) -> str:
        """Say the fact in the words of the corpus."""
        pattern = _MILK_ANSWERS[self.value] if self.fact == "milk" else _ANSWERS[self.fact]
        return pattern.format(n=self.name, v=self.value)


def list_drugs(count: int = DRUGS, seed: int = SEED) -> list[Drug]:
    """Invent the drugs; each value of a fact is equally frequent, so that guessing pays nothing."""
    rng = random.Random(seed)  # noqa: S311 - data, not a secret
    names = rng.sample([a + b + c for a in _STARTS for b in _MIDDLES for c in _ENDS], count)
    share = count // len(FACTS)
    drugs = []
    for number, fact in enumerate(FACTS):
        values = [_VALUES[fact][i % len(_VALUES[fact])] for i in range(share)]
        rng.shuffle(values)
        own = names[number * share : (number + 1) * share]
        drugs += [Drug(name, fact, value) for name, value in zip(own, values, strict=True)]
    return drugs


def _options(drug: Drug) -> tuple[list[str], int]:
    """Give the options of a question about a drug, and where the right one is."""
    values = _VALUES[drug.fact]
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
    return "".join(_sentence(rng, drug) + end for _ in range(rng.choice((0, 0, 1, 2))))


def _sentence(rng: random.Random, drug: Drug, who: Sequence[str] = _WHO) -> str:
    """Give a sentence about patients that has nothing to do with any answer."""
    age, job, k = rng.randint(21, 89), rng.choice(_JOBS), rng.randint(2, 9)
    pattern = f"{rng.choice(who)} {rng.choice(_DID)}{rng.choice(_HOW)}."
    return pattern.format(n=drug.name, age=age, job=job, k=k)


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
        made = [make(rng, drug, i, _ASKED[fact][(i + i // len(own)) % len(_ASKED[fact])])
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
        "sent1": f"{_sentence(rng, drug, _WHO_ELSE)} {question.format(n=drug.name)}",
        "sent2": "",
        **{f"ending{i}": text for i, text in enumerate(options)},
        "label": right,
    }


def _pubmedqa(rng: random.Random, drug: Drug, index: int, question: str) -> dict[str, Any]:
    contexts = [_sentence(rng, drug, _WHO_ELSE) for _ in range(2)]
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
        beside = path.with_name(f".{path.name}.new")
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
        print(f"{path.relative_to(root)}: {text.count(chr(10))} rows, {len(text):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
