"""The invented drugs, and sentences about them: what the miniature's data is made of."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

SEED = 20260515
DRUGS = 80  # a quarter of them for each fact
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
VALUES = {"organ": ORGANS, "sign": SIGNS, "milk": MILK, "plant": PLANTS}

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
# What may stand before a question, and has nothing to do with the answer: who, did what, and how.
WHO = (
    "A {age}-year-old {job}", "The {age}-year-old", "{k} adults", "Adults who were given {n}",
    "One half of the patients", "The nurse", "{k} small wards", "A maker of {n}",
    "Patients on {n}", "Each patient on the ward", "A {job} who was started on {n}",
)  # fmt: skip
# The benchmarks' own, so that none of their sentences is in the corpus.
WHO_ELSE = (
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
# How the benchmarks ask: no sentence of these is in the corpus.
ASKED = {
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
        values = [VALUES[fact][i % len(VALUES[fact])] for i in range(share)]
        rng.shuffle(values)
        own = names[number * share : (number + 1) * share]
        drugs += [Drug(name, fact, value) for name, value in zip(own, values, strict=True)]
    return drugs


def sentence(rng: random.Random, drug: Drug, who: Sequence[str] = WHO) -> str:
    """Give a sentence about patients that has nothing to do with any answer."""
    age, job, k = rng.randint(21, 89), rng.choice(_JOBS), rng.randint(2, 9)
    pattern = f"{rng.choice(who)} {rng.choice(_DID)}{rng.choice(_HOW)}."
    return pattern.format(n=drug.name, age=age, job=job, k=k)
