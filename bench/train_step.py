"""What one training step costs on one device, computed in every way that a recipe can choose.

    python -m bench.train_step --device cpu --layers 2 --tiny           # seconds, in CI
    python -m bench.train_step --device cpu --layers 2 --tiny --compile # and what is compiled
    python -m bench.train_step --recipe gemma-3-27b --out gemma.json    # one GPU, layers that fit
    python -m bench.train_step --recipe olmo-2-32b --out olmo.json
    python -m bench.train_step --recipe apertus-8b --out apertus.json

A slice of the recipe's model (full width, random weights) takes packed 4,096-token sequences
through forward, backward and optimiser. From the published way as a start, each factor is changed
alone: attention, loss, checkpointing, compilation. Then the fastest of each are taken together,
with larger micro batches. Every variant's loss and gradients are held against the start's, within a
bound that is printed; a variant that is outside is marked, is taken nowhere, and makes the exit
code 1. What cannot run here is named with its reason.

MFU is model FLOPs utilisation: model FLOPs (no recomputation counted) a second, over the bfloat16
matrix product measured in the same call, and over the data sheet's peak where it is known.
"""

from __future__ import annotations

import argparse
import platform
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from bench.step import clock, model
from bench.step.clock import Measured
from bench.step.text import text
from bench.step.variants import OPTIONS, Variant, absent, one_by_one, start
from kit.errors import KitError
from kit.files import write_json
from launch.run.recipe import load


def fastest(base: Measured, found: list[Measured], dtype: torch.dtype) -> Variant:
    """Take from each factor the option whose change alone was the fastest, of those that agree."""
    best = base.variant
    for factor in ("attention", "loss", "checkpointing", "compiled"):
        alone = [m for m in found if not m.skipped and clock.agrees(clock.apart(m, base), dtype)
                 and getattr(m.variant, factor) != getattr(base.variant, factor)]  # fmt: skip
        top = max([base, *alone], key=lambda m: m.tokens_s)
        best = replace(best, **{factor: getattr(top.variant, factor)})
    return best


class Bench:
    """The slice, and what was measured on it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.device = options.device
        self.dtype = torch.float32 if self.device == "cpu" else torch.bfloat16
        self.text, self.whole = model.shape(options.recipe, tiny=options.tiny)
        memory = torch.cuda.mem_get_info()[1] if self.device == "cuda" else 0
        # On a GPU compiling is what one wants to know; on a CPU it takes longer than all the rest.
        self.compile = options.compile or self.device == "cuda"
        self.layers = options.layers or model.fitting(self.whole, memory)
        self.length = model.TINY_LENGTH if options.tiny else options.length
        self.model = self.build(self.layers)
        self.ceilings = clock.ceilings(self.device, self.dtype, tiny=self.device == "cpu")
        self.found: list[Measured] = []

    def build(self, layers: int) -> Any:
        """Make a slice."""
        return model.build(self.text, layers, self.device, self.dtype)

    def run(self, variant: Variant, other: Any = None) -> Measured:
        """Measure a variant; prints that it begins, since a compilation takes minutes."""
        print(f"… {variant.words()}", file=sys.stderr, flush=True)
        batch = model.pack(self.text["vocab_size"], self.length, variant.micro, self.device)
        done = clock.measure(self.model if other is None else other, batch, variant,
                             steps=self.options.steps, warm=self.options.warm,
                             compile_too=self.compile)  # fmt: skip
        if other is None:
            self.found.append(done)
        return done

    def flops(self, micro: int) -> float:
        """Give the model FLOPs of a batch of the slice."""
        batch = model.pack(self.text["vocab_size"], self.length, micro, "cpu")
        return model.flops(model.sliced(self.whole, self.layers), batch,
                           self.text.get("sliding_window"),
                           self.text.get("sliding_window_pattern", 1))  # fmt: skip

    def mfu(self, done: Measured) -> tuple[float, float | None]:
        """Give the utilisation, of the measured ceiling and of the data sheet's peak."""
        speed = self.flops(done.variant.micro) / (done.forward_s + done.optimiser_s)
        sheet = self.ceilings["data_sheet"]
        return speed / float(self.ceilings["matmul"] or 1), speed / sheet if sheet else None

    def all(self) -> tuple[Measured, Measured]:
        """Measure everything; gives the start and the best."""
        base = self.run(start(self.device))
        if base.skipped:
            raise KitError(
                f"not even the start can be measured: {base.skipped}",
                where=f"{self.layers} layers of {self.options.recipe} on {self.device}",
                fix="fewer --layers",
            )
        alone = [self.run(variant) for variant in one_by_one(base.variant)]
        chosen = fastest(base, alone, self.dtype)
        if chosen not in [m.variant for m in self.found]:
            self.run(chosen)
        for micro in OPTIONS["micro"][1:]:
            if self.options.micro >= micro:
                self.run(replace(chosen, micro=micro))
        right = [m for m in self.found if self.right(m, base)]
        return base, max(right, key=lambda m: m.tokens_s)

    def right(self, done: Measured, base: Measured) -> bool:
        """Whether a variant ran and agrees; another micro batch has other tokens to compare."""
        if done.skipped:
            return False
        return done.variant.micro != 1 or clock.agrees(clock.apart(done, base), self.dtype)


def whole(bench: Bench, best: Measured) -> list[dict[str, Any]]:
    """Extrapolate the best variant to the whole model; empty where one layer is all there is."""
    if bench.layers < 2:
        return []
    fewer = max(1, bench.layers // 2)
    bench.model = None  # its memory is needed
    short = bench.run(best.variant, bench.build(fewer))
    if short.skipped:
        return []
    tokens = int(load(bench.options.recipe).table("shape")["global_batch"]) * bench.length
    parameters = model.sliced(bench.whole, bench.layers).text
    out = []
    for gpus in bench.options.gpus:
        made = clock.extrapolate(
            best, short, (bench.layers, fewer), bench.whole, parameters, gpus=gpus,
            global_tokens=tokens, bandwidth=bench.options.bandwidth * 1e9,
        )  # fmt: skip
        low, high = made.range_s
        out.append({"gpus": gpus, "compute_s": made.compute_s, "network_s": made.network_s,
                    "step_s": [low, high], "tokens_s": [tokens / high, tokens / low]})  # fmt: skip
    return out


def gather(bench: Bench, base: Measured, best: Measured) -> dict[str, Any]:
    """Give everything as data."""
    rows = []
    for done in bench.found:
        row: dict[str, Any] = {"variant": asdict(done.variant), "skipped": done.skipped}
        if not done.skipped:
            same = done.variant.micro == base.variant.micro
            apart = clock.apart(done, base) if same else (None, None)
            of_ceiling, of_sheet = bench.mfu(done)
            row |= {"tokens_s": done.tokens_s, "forward_backward_s": done.forward_s,
                    "optimiser_s": done.optimiser_s, "peak_bytes": done.peak,
                    "mfu_measured": of_ceiling, "mfu_data_sheet": of_sheet, "loss": done.loss,
                    "loss_apart": apart[0], "gradients_apart": apart[1],
                    "agrees": bench.right(done, base) if same else None}  # fmt: skip
        rows.append(row)
    name = torch.cuda.get_device_name() if bench.device == "cuda" else platform.machine()
    return {
        "recipe": bench.options.recipe, "tiny": bench.options.tiny, "layers": bench.layers,
        "of_layers": bench.whole.layers, "hidden": bench.whole.hidden,
        "vocabulary": bench.whole.vocabulary, "length": bench.length, "device": bench.device,
        "name": name, "dtype": str(bench.dtype).removeprefix("torch."), "torch": torch.__version__,
        "when": datetime.now(UTC).isoformat(timespec="seconds"), "ceilings": bench.ceilings,
        "bounds": list(clock.BOUNDS[bench.dtype]), "best": asdict(best.variant),
        "faster": best.tokens_s / base.tokens_s, "rows": rows,
        "absent": absent(bench.device, compile_too=bench.compile),
        "bandwidth_gb_s": bench.options.bandwidth, "whole": whole(bench, best),
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write; gives 1 where a variant computes something else."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="gemma-3-27b")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu",
                        choices=["cpu", "cuda"])  # fmt: skip
    parser.add_argument("--layers", type=int, help="of the slice; as many as fit without it")
    parser.add_argument("--tiny", action="store_true", help="small sizes, to try the program")
    parser.add_argument("--length", type=int, default=4096, help="tokens of a packed sequence")
    parser.add_argument("--micro", type=int, default=8, help="largest micro batch")
    parser.add_argument("--compile", action="store_true",
                        help="on a CPU, measure what is compiled as well: minutes")  # fmt: skip
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each variant")
    parser.add_argument("--warm", type=int, default=3, help="steps before them")
    parser.add_argument("--gpus", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--bandwidth", type=float, default=20.0,
                        help="GB/s that each GPU sends in collectives; assumed")  # fmt: skip
    parser.add_argument("--out", type=Path, help="write everything as JSON")
    options = parser.parse_args(arguments)
    for name in ("layers", "length", "micro", "steps"):
        if (value := getattr(options, name)) is not None and value < 1:
            parser.error(f"--{name} is at least 1, not {value}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no GPU here; --device cpu --layers 2 --tiny tries the program")
    if options.device == "cpu" and not options.tiny:
        parser.error("full width takes hours on a CPU; --tiny tries the program")
    try:
        bench = Bench(options)
        base, best = bench.all()
        data = gather(bench, base, best)
    except KitError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(text(data))
    if options.out:
        write_json(options.out, data)
        print(f"\nwritten: {options.out}")
    return int(any(row.get("agrees") is False for row in data["rows"]))


if __name__ == "__main__":
    sys.exit(main())
