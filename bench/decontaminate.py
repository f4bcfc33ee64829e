"""Decontamination against the plain algorithm: whole-process wall and CPU seconds, peak memory.

    python -m bench.decontaminate --rows 40000              both, side by side
    python -m bench.decontaminate --rows 600000 --fast      the fast one alone

The text is generated here: questions and prose of mixed length (log-normal, 20 to 2,000 words) with
stock phrases in them; beyond 40,000 rows the texts repeat under other ids. 5 % of the rows are
contaminated (a benchmark prompt whole, cut, or with 15 % of its words replaced). The tokenizer
(byte-level BPE, 32,000 pieces) is trained on it.
Both are asked the same, upstream's rule, and must write the same rows; they run as processes of
their own, one after the other. Memory is the peak of a process and its children together, as
bench/cost.py has it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from pathlib import Path

from bench.cost import Cost
from bench.cost import measure as cost_of

PROMPTS = 6000
#: Stock sentences, long enough to make candidates: so many that a question has 13. Of real
#: questions, one of MedMCQA's validation has 12 among the prompts of MedQA, MedMCQA, PubMedQA and
#: MedXpertQA, one of MedQA's 191.
STOCK, STOCK_SHARE = 40, 0.3
BLOCK = 40_000  # rows generated; more are these again with other ids


class Language:
    """Words with frequencies like those of real text, some of which stand together often."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311  not a secret
        vowels = ("a", "e", "i", "o", "u", "an", "or")
        syllables = [a + b for a in "bcdfghklmnprstv" for b in vowels]
        words: dict[str, None] = {}
        while len(words) < 20_000:
            count = self.rng.choice((1, 2, 2, 3, 3, 4))
            words["".join(self.rng.choices(syllables, k=count))] = None
        self.words = list(words)
        total = 0.0
        self.cumulative = [total := total + 1 / (rank + 3) for rank in range(len(self.words))]
        self.phrases = [self.some(self.rng.randint(2, 4)) for _ in range(3000)]
        self.stock = [self.some(12) for _ in range(STOCK)]

    def some(self, count: int) -> str:
        """Give so many words."""
        return " ".join(self.rng.choices(self.words, cum_weights=self.cumulative, k=count))

    def prose(self, count: int) -> str:
        """Give about so many words, with stock phrases and full stops in them."""
        parts, have = [], 0
        while have < count:
            k = self.rng.randint(4, 14)
            parts.append(self.some(k))
            if self.rng.random() < 0.35:
                parts.append(self.rng.choice(self.phrases))
            have += k + 2
        return ". ".join(parts) + "."

    def question(self, words: int) -> str:
        """Give an examination question: prose, now and then a stock sentence, four choices."""
        choices = "\n".join(f"{x}. {self.some(self.rng.randint(1, 6))}" for x in "ABCD")
        stock = self.rng.choice(self.stock) if self.rng.random() < STOCK_SHARE else self.some(8)
        return f"{self.prose(words)} {stock}?\n{choices}"

    def length(self) -> int:
        """Give a number of words: half below 60, some beyond 500."""
        return int(min(2000, max(20, self.rng.lognormvariate(4.1, 0.8))))


def spoil(language: Language, prompt: str) -> str:
    """Contaminate: a prompt whole in other text, half of it, or reworded."""
    rng, words = language.rng, prompt.split(" ")
    kind = rng.randrange(3)
    if kind == 0:
        return f"{language.prose(20)}\n{prompt}"
    if kind == 1:
        begin = rng.randrange(max(1, len(words) // 3))
        return " ".join(words[begin : begin + 2 * len(words) // 3])
    return " ".join(language.some(1) if rng.random() < 0.15 else word for word in words)


def generate(folder: Path, rows: int, seed: int = 7) -> None:
    """Write prompts.jsonl, train.jsonl and tokenizer.json."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    language = Language(seed)
    prompts = [language.question(language.length()) for _ in range(PROMPTS)]
    with (folder / "prompts.jsonl").open("w") as file:
        for text in prompts:
            file.write(json.dumps({"text": text}) + "\n")
    sample = []
    texts = []
    for _ in range(min(rows, BLOCK)):
        if language.rng.random() < 0.05:
            asked = spoil(language, language.rng.choice(prompts))
        elif language.rng.random() < 0.6:
            asked = language.question(language.length())
        else:
            asked = language.prose(language.length())
        turns = [("human", asked), ("gpt", language.prose(language.length()))]
        texts.append(json.dumps([{"from": who, "value": text} for who, text in turns]))
        if len(sample) < 8000:
            sample.append(asked)
    with (folder / "train.jsonl").open("w") as file:
        for number in range(rows):
            said = texts[number % len(texts)]
            file.write(f'{{"id": "row-{number}", "conversations": {said}}}\n')
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(
        sample,
        trainers.BpeTrainer(
            vocab_size=32_000,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def measure(name: str, command: list[str]) -> Cost:
    """Run one of both and print what it came to."""
    cost = cost_of(command, show=False)
    if cost.code:
        sys.exit(f"this failed: {' '.join(command)}")
    print(f"{name:<6} {cost.wall:8.1f} s wall {cost.cpu:8.1f} s CPU {cost.peak / 2**20:8,.0f} MiB")
    return cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--fast", action="store_true", help="leave the plain one out")
    parser.add_argument("--folder", type=Path, help="keep what is generated here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "tokenizer.json").is_file():
            generate(folder, options.rows)
        print(f"{options.rows:,} rows, {(folder / 'train.jsonl').stat().st_size / 2**20:,.0f} MiB; "
              f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)  # fmt: skip
        files = [str(folder / n) for n in ("tokenizer.json", "train.jsonl", "prompts.jsonl")]
        fast = measure(
            "fast",
            [sys.executable, "-m", "launch", "corpus", "decontaminate", "--tokenizer", files[0],
             "--train", files[1], "--prompts", f"b={files[2]}:text", "--mode", "faithful",
             "--out", str(folder / "fast")],
        )  # fmt: skip
        summary = json.loads((folder / "fast" / "summary.json").read_text())
        print(f"{summary['removed']:,} of {summary['rows']:,} rows removed", flush=True)
        if options.fast:
            return
        out = str(folder / "plain.jsonl")
        plain = measure("plain", [sys.executable, "-m", "tests.corpus.plain", *files, out])
        one = json.loads((folder / "fast" / "reports" / "b.json").read_text())
        two = json.loads((folder / "plain.report.json").read_text())
        print(f"the same rows and prompts: {one == two}")
        print(f"plain / fast: {plain.wall / fast.wall:.1f} wall, {plain.cpu / fast.cpu:.1f} CPU, "
              f"{plain.peak / fast.peak:.1f} memory")  # fmt: skip


if __name__ == "__main__":
    main()
