"""How many weights an optimiser step changes when they are bfloat16 and nothing else is kept.

    python -m bench.bf16_updates --figures docs --out updates.json      # a minute of one CPU core

FSDP2 with `bf16: true` and no fp32 master weights, as five of the six models were published, adds
each update to a bfloat16 weight and rounds. A bfloat16 number has 8 significant bits: near a weight
w its neighbours are 2^(floor(log2|w|) - 7) away, and an update of less than half of that leaves w
what it was. AdamW's update is about the learning rate, whatever the gradient, so the learning rate
and the size of the weights decide the share of weights that change. The lost updates are not kept
anywhere: they do not add up.

Two small models learn the miniature's texts with each recipe's published learning rate, warmup,
decay, betas and clipping: the smoke model (weights of standard deviation 0.09), and one of the same
class with 0.02, the usual initialisation and about what trained models have. Each is trained as
published and with fp32 masters, from the same weights on the same batches.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from checks.report.lines import Axis, Series, chart, standalone
from kit.files import write_json, write_text
from launch.inputs.base_model import _texts
from launch.inputs.tiny import build_tiny
from launch.run import recipe as recipes

RECIPES = ("gemma-3-27b", "olmo-2-32b", "eurollm-22b", "eurollm-9b", "apertus-70b", "apertus-8b")
USUAL = 0.02
LENGTH, ROWS = 128, 2  # tokens of a sequence, sequences of a step


def half_step(weights: torch.Tensor) -> torch.Tensor:
    """Give what an update has to exceed to change bfloat16 weights that are not 0."""
    _, exponent = torch.frexp(weights.float().abs())  # w = m * 2^e with m in [0.5, 1)
    return torch.ldexp(torch.ones_like(weights, dtype=torch.float32), exponent - 1 - 8)


def reach(rate: float) -> float:
    """Give the weight below which an update of this size changes a bfloat16 number."""
    return 2.0 ** math.ceil(math.log2(rate) + 8)


def expected(rate: float, deviation: float) -> float:
    """Give the share of normally distributed weights that updates of size `rate` change."""
    return math.erf(reach(rate) / (deviation * math.sqrt(2)))


@dataclass(frozen=True)
class Trace:
    """One training.

    Attributes:
        shares: of the trained weights, what each step changed.
        moved: norm of the weights' change since the start, relative to their norm, at each step.
        losses: nats a token.
    """

    shares: list[float]
    moved: list[float]
    losses: list[float]


def hyper(name: str) -> dict[str, float]:
    """Give a recipe's published optimiser."""
    train = recipes.load(name).table("train")
    return {"learning_rate": train["learning_rate"], "warmup": train["warmup_ratio"],
            "decay": train.get("weight_decay", 0.0), "beta2": train.get("adam_beta2", 0.999),
            "clip": train.get("max_grad_norm", 1.0)}  # fmt: skip


def train(
    start: Any, batches: Sequence[torch.Tensor], how: dict[str, float], *, masters: bool,
    tick: Callable[[], None] = lambda: None,
) -> Trace:  # fmt: skip
    """Train a copy of a bfloat16 model by AdamW under a cosine schedule with warmup.

    Args:
        start: the model; every floating weight is bfloat16.
        batches: int64 [rows, length], one a step.
        how: what `hyper` gives.
        masters: whether fp32 weights and moments are kept, and rounded for each forward pass; as
            FSDP2's mixed precision does with fp32 shards.
    """
    from transformers import get_cosine_schedule_with_warmup

    model = copy.deepcopy(start)
    used = [p for n, p in model.named_parameters() if "vision" not in n and "projector" not in n]
    kept = [p.detach().float().requires_grad_() for p in used] if masters else used
    first = [p.detach().float().clone() for p in kept]
    size = math.sqrt(sum(float(p.square().sum()) for p in first))
    optimiser = torch.optim.AdamW(kept, lr=how["learning_rate"], betas=(0.9, how["beta2"]),
                                  weight_decay=how["decay"], fused=True)  # fmt: skip
    steps = len(batches)
    schedule = get_cosine_schedule_with_warmup(optimiser, int(how["warmup"] * steps), steps)
    out = Trace([], [], [])
    for tokens in batches:
        loss = model(input_ids=tokens, labels=tokens, token_type_ids=torch.zeros_like(tokens)).loss
        loss.backward()
        for master, parameter in zip(kept, used, strict=True) if masters else ():
            master.grad = parameter.grad.float()
        torch.nn.utils.clip_grad_norm_(kept, how["clip"])
        before = [p.detach().clone() for p in kept]
        optimiser.step()
        schedule.step()
        changed = sum(int((a != b).sum()) for a, b in zip(before, kept, strict=True))
        out.shares.append(changed / sum(p.numel() for p in kept))
        away = sum(float((a.detach().float() - b).square().sum())
                   for a, b in zip(kept, first, strict=True))  # fmt: skip
        out.moved.append(math.sqrt(away) / size)
        out.losses.append(float(loss.detach()))
        for master, parameter in zip(kept, used, strict=True) if masters else ():
            parameter.data.copy_(master)
        model.zero_grad()
        optimiser.zero_grad()
        tick()
    return out


def models(folder: Path) -> tuple[dict[str, Any], list[int]]:
    """Build the two models, in bfloat16, and the tokens that they learn."""
    from transformers import AutoTokenizer, Gemma3ForConditionalGeneration

    table = recipes.load("smoke").table("model")
    texts = list(_texts(Path(table["tokenizer_texts"])))
    base = build_tiny(
        Path(table["config"]), Path(table["chat_template"]), texts, folder / "base", 42
    )
    smoke = Gemma3ForConditionalGeneration.from_pretrained(base, dtype=torch.bfloat16)
    config = copy.deepcopy(smoke.config)
    config.text_config.initializer_range = config.initializer_range = USUAL
    torch.manual_seed(42)
    usual = Gemma3ForConditionalGeneration(config).to(torch.bfloat16)
    tokens = AutoTokenizer.from_pretrained(base)("\n".join(texts)).input_ids
    return {"smoke model, 0.09": smoke, "the same, 0.02": usual}, tokens


def batches(tokens: Sequence[int], steps: int) -> list[torch.Tensor]:
    """Cut tokens into so many batches, from the beginning again where they end."""
    size = LENGTH * ROWS
    return [
        torch.tensor([tokens[(step * size + i) % len(tokens)] for i in range(size)]).view(ROWS, -1)
        for step in range(steps)
    ]


def predicted(model: Any, rate: float) -> float:
    """Give the share of a model's weights that updates of size `rate` would change."""
    used = [p.detach() for n, p in model.named_parameters()
            if "vision" not in n and "projector" not in n]  # fmt: skip
    there = sum(int(((half_step(p) < rate) | (p == 0)).sum()) for p in used)
    return there / sum(p.numel() for p in used)


def measure(names: Sequence[str], steps: int) -> list[dict[str, Any]]:
    """Train each model by each recipe's optimiser, both ways; recipes with the same one once."""
    from rich.progress import Progress

    optimisers: dict[str, dict[str, float]] = {}
    for name in names:
        same = next((k for k, v in optimisers.items() if v == hyper(name)), None)
        if same is not None:
            optimisers[f"{same}, {name}"] = optimisers.pop(same)
        else:
            optimisers[name] = hyper(name)
    rows = []
    with tempfile.TemporaryDirectory() as folder, Progress(transient=True) as bar:
        built, tokens = models(Path(folder))
        seen = batches(tokens, steps)
        task = bar.add_task("steps", total=len(built) * len(optimisers) * 2 * steps)
        for title, model in built.items():
            for name, how in optimisers.items():
                both = {kind: train(model, seen, how, masters=kind == "masters",
                                    tick=lambda: bar.advance(task))
                        for kind in ("bf16", "masters")}  # fmt: skip
                rows.append({"model": title, "recipes": name, **how, "steps": steps,
                             "predicted": predicted(model, how["learning_rate"]),
                             **{kind: asdict(trace) for kind, trace in both.items()}})  # fmt: skip
    return sorted(rows, key=lambda r: (r["model"], r["learning_rate"]))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Give the measurements as a Markdown table."""
    heads = ("weights", "learning rate (recipes)", "predicted", "bf16, at the peak",
             "bf16, mean step", "fp32 masters, mean step", "distance, bf16 : masters")  # fmt: skip
    out = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        bf16, masters = row["bf16"], row["masters"]
        out.append(
            f"| {row['model']} | {row['learning_rate']:g} ({row['recipes']}) | "
            f"{row['predicted']:.1%} | {max(bf16['shares']):.1%} | {_mean(bf16['shares']):.1%} | "
            f"{_mean(masters['shares']):.1%} | {bf16['moved'][-1] / masters['moved'][-1]:.2f} |"
        )
    return "\n".join(out)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def figures(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Draw the share by learning rate beside the theory, and how far the weights came."""
    rates = [10 ** (e / 20) for e in range(-140, -59)]
    series = [Series(f"theory, at {d:g}", [(r, 100 * expected(r, d)) for r in rates], tone=t)
              for t, d in enumerate((USUAL, 0.09))]  # fmt: skip
    for tone, title in enumerate(sorted({r["model"] for r in rows}, reverse=True)):
        points = [(r["learning_rate"], 100 * max(r["bf16"]["shares"])) for r in rows
                  if r["model"] == title]  # fmt: skip
        series.append(Series(f"measured, {title.split()[-1]}", points, dots=True, tone=tone))
    share = chart(series, x=Axis("learning rate", log=True), y=Axis("% of weights", log=True),
                  width=760, title="Weights that a bfloat16 step changes")  # fmt: skip
    lowest = min((r for r in rows if r["model"].endswith(f"{USUAL:g}")),
                 key=lambda r: r["learning_rate"])  # fmt: skip
    moved = chart(
        [Series(words, list(enumerate(lowest[kind]["moved"], 1)))
         for kind, words in (("masters", "fp32 masters"), ("bf16", "bf16 alone"))],
        x=Axis("step"), y=Axis("relative change of the weights"), width=760, floor=0.0,
        title=f"Distance from the start at learning rate {lowest['learning_rate']:g}",
    )  # fmt: skip
    return {"bf16-share": standalone(share), "bf16-distance": standalone(moved)}


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, write figures and data."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", nargs="+", default=RECIPES, metavar="NAME")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--figures", type=Path, help="folder for the two figures, SVG")
    parser.add_argument("--out", type=Path, help="write everything as JSON")
    options = parser.parse_args(arguments)
    if options.steps < 2:
        parser.error(f"--steps is at least 2, not {options.steps}")
    torch.set_num_threads(1)  # small matrices: a second thread mostly waits
    rows = measure(options.recipes, options.steps)
    print(table(rows))
    if options.figures:
        options.figures.mkdir(parents=True, exist_ok=True)
        for name, text in figures(rows).items():
            write_text(options.figures / f"{name}.svg", text)
    if options.out:
        write_json(options.out, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
