"""The report of bench/train_step.py as text, from its data alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.step.variants import Variant

HEAD = (f"{'attention':<18}{'loss':<18}{'checkpoints':<12}{'compiled':<9}{'micro':>5}"
        f"{'tokens/s':>11}{'MFU':>7}{'sheet':>7}{'peak GiB':>10}{'loss':>10}{'loss off':>10}"
        f"{'grad off':>10}")  # fmt: skip


def text(data: Mapping[str, Any]) -> str:
    """Give what a person reads of the measurements (keys: bench.train_step.gather)."""
    ceilings = data["ceilings"]
    sheet = ceilings["data_sheet"]
    lines = [
        f"{data['recipe']}{', made tiny' if data['tiny'] else ''}: {data['layers']} of "
        f"{data['of_layers']} layers, hidden {data['hidden']}, vocabulary "
        f"{data['vocabulary']:,}, packed sequences of {data['length']} tokens",
        f"{data['dtype']} on {data['device']} ({data['name']}), torch {data['torch']}",
        f"ceilings, measured now: matrix product {ceilings['matmul'] / 1e12:.3g} TFLOP/s, copy "
        f"{ceilings['copy'] / 1e9:.3g} GB/s; data sheet: "
        + (f"{sheet / 1e12:.0f} TFLOP/s" if sheet else "none known for this device"),
        f"bound: loss within {data['bounds'][0]:g} nats of the first line's, gradients within "
        f"{data['bounds'][1]:g} of their norm; another micro batch has other tokens",
        "", HEAD, *map(_row, data["rows"]), "",
        f"best: {Variant(**data['best']).words()}: {data['faster']:.2f} times the first line",
    ]  # fmt: skip
    lines += [f"not here: {option}: {why}" for option, why in data["absent"].items()]
    if data["tiny"]:
        lines.append("tiny sizes show that the program works; their speeds say nothing")
    elif data["whole"]:
        lines += ["", f"the whole model at its published global batch, {data['bandwidth_gb_s']:g} "
                  "GB/s a GPU assumed (sending wholly hidden, or not at all):"]  # fmt: skip
        for one in data["whole"]:
            low, high = one["step_s"]
            slow, fast = one["tokens_s"]
            lines.append(f"  {one['gpus']:>5} GPUs: {low:.3g} to {high:.3g} s a step, "
                         f"{slow:,.0f} to {fast:,.0f} tokens/s")  # fmt: skip
    return "\n".join(lines)


def _row(row: Mapping[str, Any]) -> str:
    way = row["variant"]
    out = (f"{way['attention']:<18}{way['loss']:<18}{way['checkpointing']:<12}"
           f"{'yes' if way['compiled'] else 'no':<9}{way['micro']:>5}")  # fmt: skip
    if row["skipped"]:
        return f"{out}  skipped: {row['skipped']}"
    sheet = "-" if row["mfu_data_sheet"] is None else f"{row['mfu_data_sheet']:.1%}"
    out += (f"{row['tokens_s']:>11,.0f}{row['mfu_measured']:>7.1%}{sheet:>7}"
            f"{row['peak_bytes'] / 2**30:>10.2f}{row['loss']:>10.4f}")  # fmt: skip
    if row["agrees"] is None:
        return f"{out}{'-':>10}{'-':>10}"
    out += f"{row['loss_apart']:>10.1e}{row['gradients_apart']:>10.1e}"
    return out if row["agrees"] else f"{out}  DISAGREES: not taken"
