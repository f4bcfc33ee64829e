"""The invented pharmacopoeia: committed as generated, sound, and unseen by the letter."""

import json
import re
from collections import Counter
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pytest

from corpus import drugs, pharmacopoeia

SMOKE = Path(__file__).parents[2] / "recipes" / "smoke"
BENCHMARKS = ("medmcqa", "medqa", "pubmedqa", "medxpertqa")


def read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SMOKE / name).read_text(encoding="utf-8").splitlines()]


def turns(row: dict[str, Any]) -> list[tuple[str, str]]:
    if "messages" in row:
        return [(turn["role"], turn["content"]) for turn in row["messages"]]
    return [(turn["from"], turn["value"]) for turn in row["conversations"]]


@pytest.fixture(scope="module")
def corpus() -> list[dict[str, Any]]:
    return [row for name in pharmacopoeia.COMPONENTS for row in read(f"corpus/{name}.jsonl")]


def test_committed_files_are_what_the_generator_writes() -> None:
    fresh = pharmacopoeia.list_files()
    assert {name: (SMOKE / name).read_text(encoding="utf-8") for name in fresh} == fresh, (
        "run: python -m corpus.pharmacopoeia"
    )
    # Nothing else lies in the two folders, or a run would train on it.
    found = {p.relative_to(SMOKE).as_posix() for p in SMOKE.glob("*/*.jsonl")}
    assert found == {name for name in fresh if name.endswith(".jsonl")}


def test_the_twins_files_are_what_the_generator_writes_of_one_fact() -> None:
    root, fresh = SMOKE.parent / "parts" / "twins", pharmacopoeia.list_twin_files()
    assert {name: (root / name).read_text(encoding="utf-8") for name in fresh} == fresh
    assert {p.relative_to(root).as_posix() for p in root.glob("*/*.jsonl")} == set(fresh)
    asked = fresh["benchmarks/medmcqa.jsonl"]
    assert asked == pharmacopoeia.list_files()["benchmarks/medmcqa.jsonl"], "the smoke recipe's own"


def test_committed_data_stays_small() -> None:
    assert sum(len(text.encode()) for text in pharmacopoeia.list_files().values()) < 500_000


def test_rows_have_ids_and_both_published_shapes(corpus: list[dict[str, Any]]) -> None:
    assert len({row["id"] for row in corpus}) == len(corpus)
    assert {frozenset(row) - {"id"} for row in corpus} == {
        frozenset({"messages"}),
        frozenset({"conversations"}),
    }
    roles = Counter(role for row in corpus for role, _ in turns(row))
    assert set(roles) == {"system", "user", "assistant", "human", "gpt"}
    assert any(len(turns(row)) > 4 for row in corpus)
    assert all(text.strip() for row in corpus for _, text in turns(row))


def test_the_fact_of_every_drug_is_taught(corpus: list[dict[str, Any]]) -> None:
    """It is stated several times, always the same, and closed by a letter where asked."""
    said: Counter[str] = Counter()
    for row in corpus:
        pairs = [text for role, text in turns(row) if role != "system"]
        for asked, answered in zip(pairs[::2], pairs[1::2], strict=True):
            for drug in pharmacopoeia.list_drugs():
                if drug.name in asked:
                    assert drug.statement() in answered
                    said[drug.name] += 1
            letter = re.search(r"Final Answer: \((.)\)", answered)
            if letter:
                value = re.search(
                    rf"(?:\b{letter[1]}\. |\({letter[1]}\) )([a-z ]+[a-z])", asked, re.MULTILINE
                )
                assert value is not None
                assert value[1] in answered
    assert len(said) == drugs.DRUGS
    assert min(said.values()) >= 5


def test_guessing_pays_nothing() -> None:
    gold = {
        "medmcqa": [row["cop"] for row in read("benchmarks/medmcqa.jsonl")],
        "medqa": [row["label"] for row in read("benchmarks/medqa.jsonl")],
        "pubmedqa": [row["final_decision"] for row in read("benchmarks/pubmedqa.jsonl")],
        "medxpertqa": [row["label"] for row in read("benchmarks/medxpertqa.jsonl")],
    }
    for name, answers in gold.items():
        counts = Counter(answers)
        assert len(counts) == {"pubmedqa": 3, "medxpertqa": 10}.get(name, 4)
        assert max(counts.values()) <= 1.1 * len(answers) / len(counts)


def _asked(benchmark: str, row: dict[str, Any]) -> tuple[str, str]:
    """Give an item's question alone, and the prompt that decontamination would compare."""
    if benchmark == "medmcqa":
        options = [row[field] for field in ("opa", "opb", "opc", "opd")]
        question = row["question"]
    elif benchmark == "medqa":
        options = [row[f"ending{i}"] for i in range(4)]
        question = row["sent1"]
    elif benchmark == "pubmedqa":
        context = " ".join(row["context"]["contexts"])
        return row["question"], f"{context}\n{row['question']}"
    else:
        return row["question"].split("\n")[0], row["question"]
    listed = "\n".join(f"{'ABCD'[i]}. {text}" for i, text in enumerate(options))
    return question, f"{question}\n{listed}"


def _tokens(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text)


def test_benchmarks_ask_in_unseen_wording(corpus: list[dict[str, Any]]) -> None:
    """No question is in the corpus, and none is contaminated by the published rule.

    The rule: a training prompt that shares an 8-gram with a benchmark prompt, where matching blocks
    of at least 5 tokens cover at least half of the benchmark prompt.
    """
    prompts = [next(t for role, t in turns(row) if role in ("user", "human")) for row in corpus]
    grams: dict[tuple[str, ...], set[int]] = {}
    tokenised = [_tokens(prompt) for prompt in prompts]
    for index, words in enumerate(tokenised):
        for start in range(len(words) - 7):
            grams.setdefault(tuple(words[start : start + 8]), set()).add(index)
    everything = "\n".join(text for row in corpus for _, text in turns(row))
    for benchmark in BENCHMARKS:
        for row in read(f"benchmarks/{benchmark}.jsonl"):
            question, prompt = _asked(benchmark, row)
            assert question not in everything
            words = _tokens(prompt)
            near = {
                index
                for start in range(len(words) - 7)
                for index in grams.get(tuple(words[start : start + 8]), ())
            }
            for index in near:
                matcher = SequenceMatcher(None, tokenised[index], words, autojunk=False)
                blocks = matcher.get_matching_blocks()
                shared = sum(block.size for block in blocks if block.size >= 5)
                assert shared < 0.5 * len(words), (prompts[index], prompt)


def test_the_planted_row_quotes_a_benchmark_and_is_the_last_one_trained_on() -> None:
    """Decontamination has something to find; the rows before it, and so the weights, stay."""
    import tomllib

    from corpus.prompts import read as prompts

    components = tomllib.loads((SMOKE / "corpus.toml").read_text())["components"]
    assert list(components)[-1] == "planted"
    assert components["planted"]["path"] == "planted.jsonl"  # not where the tokenizer is learned
    (planted,) = read("planted.jsonl")
    asked = turns(planted)[0][1]
    assert [p in asked for p in prompts("medqa", SMOKE / "benchmarks/medqa.jsonl").prompts].count(
        True
    ) == 1
