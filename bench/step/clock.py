"""Time, memory, loss and gradients of a step; the device's own ceilings; the whole model from them.

Ceilings are measured in the same call, on the same device: a share of a data sheet's number says as
much about the machine's clock and cooling as about the program.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bench.step.model import Batch
from bench.step.variants import Variant, apply, arranged, loss_function
from launch.inputs.dims import Dims

#: Dense bfloat16 peaks of the makers' data sheets, FLOP/s, by a part of the device's name.
DATA_SHEET = {"GH200": 989.4e12, "H200": 989.4e12, "H100 PCIe": 756e12, "H100": 989.4e12,
              "A100": 312e12}  # fmt: skip
#: How far variants may be apart: (loss in nats, relative norm of the gradients' difference).
#: float32 was measured on a CPU; bfloat16 is what its 8 bits of mantissa let one expect.
BOUNDS = {torch.float32: (1e-5, 1e-4), torch.bfloat16: (1e-2, 5e-2)}


@dataclass
class Measured:
    """One variant's numbers.

    Attributes:
        forward_s, optimiser_s: medians, seconds; the first with the backward.
        tokens: of the batch.
        peak: bytes, the most that was held at a time.
        loss: before the first step, nats a token.
        gradients: name -> gradient, of the parameters that are compared, on the CPU in float32.
        skipped: why it was not run; then there is nothing else.
    """

    variant: Variant
    forward_s: float = 0.0
    optimiser_s: float = 0.0
    tokens: int = 0
    peak: int = 0
    loss: float = 0.0
    gradients: dict[str, torch.Tensor] = field(default_factory=dict)
    skipped: str | None = None

    @property
    def tokens_s(self) -> float:
        """Tokens a second, the optimiser included."""
        return self.tokens / (self.forward_s + self.optimiser_s)


def measure(
    model: Any, batch: Batch, variant: Variant, *, steps: int, warm: int, compile_too: bool = True
) -> Measured:  # fmt: skip
    """Run a variant: once for loss and gradients, then `warm` steps unseen and `steps` timed.

    The optimiser does all of its work at a learning rate of 0, so that every variant begins with
    the same weights. What cannot run, fails, or does not fit, is `skipped`.

    Args:
        compile_too: whether what needs torch.compile is run.
    """
    device = batch.tokens.device.type
    why = variant.missing(device, compile_too=compile_too)
    if why:
        return Measured(variant, skipped=why)
    try:
        apply(model, variant)
        loss_of = loss_function(variant.loss)
        tokens, positions, labels = arranged(variant, batch.tokens, batch.positions, batch.labels)

        def forward_backward() -> torch.Tensor:
            hidden = model.model(input_ids=tokens, position_ids=positions).last_hidden_state
            loss = loss_of(hidden, model.lm_head, labels)
            loss.backward()
            return loss.detach()

        optimiser = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)
        with _peak(device) as peak:
            optimiser.zero_grad()
            out = Measured(variant, tokens=batch.size, loss=float(forward_backward()))
            out.gradients = _sample(model)
            forward, update = [], []
            for _ in range(warm + steps):
                optimiser.zero_grad()
                forward.append(_seconds(device, forward_backward))
                update.append(_seconds(device, optimiser.step))
            out.forward_s = statistics.median(forward[warm:])
            out.optimiser_s = statistics.median(update[warm:])
        out.peak = peak[0]
    except torch.OutOfMemoryError:
        return Measured(variant, skipped="does not fit this device's memory")
    except RuntimeError as error:
        # A compiler's or a kernel's: the other variants are still worth it.
        return Measured(variant, skipped=f"fails: {str(error).strip().splitlines()[0]}")
    finally:
        model.zero_grad(set_to_none=True)
        if device == "cuda":
            torch.cuda.empty_cache()
    return out


def _sample(model: Any) -> dict[str, torch.Tensor]:
    """Keep the gradients of the first and the last layer, and 1,024 rows of the output head."""
    layers = model.model.layers
    chosen = {f"layer {n}.{k.replace('_checkpoint_wrapped_module.', '')}": p
              for n in sorted({0, len(layers) - 1})
              for k, p in layers[n].named_parameters()}  # fmt: skip
    chosen["output head"] = model.lm_head.weight
    return {k: p.grad[:1024].float().cpu() for k, p in chosen.items() if p.grad is not None}


def apart(one: Measured, other: Measured) -> tuple[float, float]:
    """Give the loss's difference, and the relative norm of the gradients' difference."""
    square = sum(float((one.gradients[k] - g).square().sum()) for k, g in other.gradients.items())
    norm = sum(float(g.square().sum()) for g in other.gradients.values())
    return abs(one.loss - other.loss), (square / norm) ** 0.5


def agrees(difference: tuple[float, float], dtype: torch.dtype) -> bool:
    """Whether a difference lies within the bounds of a number type; NaN does not."""
    bounds = BOUNDS[dtype]
    return difference[0] <= bounds[0] and difference[1] <= bounds[1]


def _seconds(device: str, work: Callable[[], object]) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


@contextlib.contextmanager
def _peak(device: str) -> Iterator[list[int]]:
    """Give the most bytes held within: allocated ones on a GPU, the process's on a CPU."""
    out = [0]
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        yield out
        out[0] = torch.cuda.max_memory_allocated()
        return
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")  # proc(5): sets the peak back to what is held now
    yield out
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        out[0] = int(line.split()[1]) * 1024


def ceilings(device: str, dtype: torch.dtype, *, tiny: bool) -> dict[str, float | None]:
    """Measure the device: FLOP/s of a square matrix product, bytes/s of a copy, data-sheet peak."""
    size = 1024 if tiny else 8192
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    for _ in range(3):
        torch.mm(a, b, out=out)
    product = statistics.median(
        _seconds(a.device.type, lambda: torch.mm(a, b, out=out)) for _ in range(20)
    )
    copied = statistics.median(_seconds(a.device.type, lambda: out.copy_(a)) for _ in range(20))
    name = torch.cuda.get_device_name() if a.device.type == "cuda" else ""
    sheet = next((peak for part, peak in DATA_SHEET.items() if part in name), None)
    moved = 2.0 * a.numel() * a.element_size()
    return {"matmul": 2.0 * size**3 / product, "copy": moved / copied, "data_sheet": sheet}


@dataclass(frozen=True)
class Whole:
    """One optimiser step of the whole model on some GPUs, from what the slice cost.

    Attributes:
        gpus: number of them.
        compute_s: seconds, nothing waited for.
        network_s: seconds of sending, if nothing were hidden behind computing.
    """

    gpus: int
    compute_s: float
    network_s: float

    @property
    def range_s(self) -> tuple[float, float]:
        """Seconds of a step: sending hidden wholly, and not at all."""
        return max(self.compute_s, self.network_s), self.compute_s + self.network_s


def extrapolate(
    long: Measured, short: Measured, layers: tuple[int, int], of: Dims, slice_parameters: int,
    *, gpus: int, global_tokens: int, bandwidth: float,
) -> Whole:  # fmt: skip
    """Extrapolate to the whole model under FSDP2 that shards over all GPUs.

    A layer's time is the slope between two slices, embedding and head the rest. The optimiser's
    work is sharded. Each micro step gathers the weights twice (reshard_after_forward) and scatters
    gradients once, 2 bytes a parameter.

    Args:
        long, short: the same variant with more and with fewer layers.
        layers: of `long` and of `short`.
        slice_parameters: of `long`.
        global_tokens: of one optimiser step.
        bandwidth: bytes a second that each GPU sends and receives.
    """
    slope = (long.forward_s - short.forward_s) / (layers[0] - layers[1])
    rest = long.forward_s - slope * layers[0]
    micro_steps = global_tokens / (gpus * long.tokens)
    update = long.optimiser_s * of.text / slice_parameters / gpus
    sent = 3 * 2 * of.text * (gpus - 1) / gpus
    return Whole(gpus, micro_steps * (slope * of.layers + rest) + update,
                 micro_steps * sent / bandwidth)  # fmt: skip
