"""Which planted fault does the loss band catch, and at which step? Real weights, real rows.

    python -m bench.faults MODEL --rows RUN/corpus/train.jsonl --bands recipes/pocket/loss.json

Each fault is planted into a plain training loop: transformers, AdamW, bfloat16 products over
float32 weights, the recipe's learning rate, warm-up and tokens a step. It is neither Axolotl nor
FSDP2, in which a fault takes more than a line to plant, and the rows come in another order. Each
step's loss is held by the guard that holds real trainings. The right run is taken too: a band that
it leaves would catch everything.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from launch.run.recipe import load
from launch.stages.envelope import Envelope, Guard, read_bands

Turns = list[tuple[str, str]]
#: Labels that are not trained on.
IGNORED = -100


def chatml(turns: Turns) -> list[tuple[str, bool]]:
    """Write turns as training does; True: the model learns this part."""
    out = []
    for role, text in turns:
        name = "assistant" if role == "gpt" else "user"
        out += [
            (f"<|im_start|>{name}\n", False),
            (f"{text}<|im_end|>", role == "gpt"),
            ("\n", False),
        ]
    return out


def bare(turns: Turns) -> list[tuple[str, bool]]:
    """Write turns without any template: question and answer in one text."""
    return [(f"{text}\n", role == "gpt") for role, text in turns]


def cut(turns: Turns) -> Turns:
    """Keep the first words of each answer."""
    return [(role, " ".join(text.split()[:3]) if role == "gpt" else text) for role, text in turns]


class Words:
    """Turns rows into token ids and labels, with or without a fault."""

    def __init__(self, tokenizer: Any, fault: str) -> None:
        self.tokenizer, self.fault = tokenizer, fault
        # Another model's tokenizer of the same size: each piece has another number.
        self.other = list(range(len(tokenizer)))
        random.Random(0).shuffle(self.other)  # noqa: S311 - no secret

    def row(self, turns: Turns) -> tuple[list[int], list[int]]:
        """Give ids and labels of one row."""
        if self.fault == "rows cut to three words":
            turns = cut(turns)
        ids: list[int] = []
        labels: list[int] = []
        for text, learned in (bare if self.fault == "chat template lost" else chatml)(turns):
            part = self.tokenizer(text, add_special_tokens=False).input_ids
            if self.fault == "another tokenizer":
                part = [self.other[i] for i in part]
            ids += part
            labels += part if learned else [IGNORED] * len(part)
        if self.fault == "labels shifted by one":
            labels = [*labels[1:], IGNORED]
        return ids, labels

    def steps(self, rows: list[Turns], tokens: int, length: int) -> Iterator[list[Any]]:
        """Give the rows of each step, as many as fill it."""
        batch: list[Any] = []
        filled = 0
        for turns in rows:
            ids, labels = self.row(turns)
            if len(ids) > length:
                continue
            batch.append((ids, labels))
            filled += len(ids)
            if filled >= tokens:
                yield batch
                batch, filled = [], 0


FAULTS = ("none", "chat template lost", "learning rate 100 times", "labels shifted by one",
          "another tokenizer", "rows cut to three words")  # fmt: skip


def train(model_folder: str, rows: list[Turns], fault: str, recipe: Any, steps: int) -> list[float]:
    """Train so many steps with a fault; gives each step's loss before its update."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    table = recipe.table("train")
    torch.manual_seed(table["seed"])
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    words = Words(AutoTokenizer.from_pretrained(model_folder), fault)
    rate = table["learning_rate"] * (100 if fault == "learning rate 100 times" else 1)
    warm = max(1, round(table["warmup_ratio"] * table["max_steps"]))
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=table["weight_decay"])
    length = table["sequence_len"]
    tokens = recipe.table("shape")["global_batch"] * length
    losses = []
    for number, batch in enumerate(words.steps(rows, tokens, length)):
        if number == steps:
            break
        optimiser.param_groups[0]["lr"] = rate * min(1.0, number / warm)
        learned = sum(sum(label != IGNORED for label in labels) for _, labels in batch)
        total = 0.0
        for ids, labels in batch:  # one at a time: packed documents do not see each other either
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(input_ids=torch.tensor([ids])).logits[0, :-1].float()
            loss = torch.nn.functional.cross_entropy(
                logits, torch.tensor(labels[1:]), ignore_index=IGNORED, reduction="sum"
            )
            (loss / learned).backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), table["max_grad_norm"])
        optimiser.step()
        optimiser.zero_grad()
        losses.append(total / learned)
    return losses


def caught(losses: list[float], guard: Guard) -> str:
    """Say at which step the guard stops, and why; "" where it never does."""
    found: Callable[[int, float], str | None] = guard.outside
    for step, loss in enumerate(losses, 1):
        if words := found(step, loss):
            return f"step {step}: {words}"
    return ""


def main() -> None:
    """Plant each fault, print its losses and what the band says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--bands", type=Path, default=Path("recipes/pocket/loss.json"))
    parser.add_argument("--recipe", default="pocket")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    options = parser.parse_args()
    rows = [
        [(turn["from"], turn["value"]) for turn in json.loads(line)["conversations"]]
        for line in options.rows.open(encoding="utf-8")
    ]
    recipe = load(options.recipe)
    random.Random(recipe.table("train")["seed"]).shuffle(rows)  # noqa: S311 - no secret
    bands = read_bands(options.bands)
    for fault in options.faults:
        began = time.monotonic()
        losses = train(options.model, rows, fault, recipe, options.steps)
        said = caught(losses, Guard(Envelope(bands=bands)))
        shown = " ".join(f"{loss:.2f}" for loss in losses)
        print(f"{fault}: {shown} | {said or 'not caught'} ({time.monotonic() - began:.0f} s)",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
