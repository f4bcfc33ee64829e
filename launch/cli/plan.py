"""`mfo plan`: a training's memory, time and cost before a job is submitted."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click
from markupsafe import Markup

from checks.report.scaling import PAGE, STYLE, scaling
from kit.columns import columns
from kit.errors import KitError
from kit.files import os_errors, write_text
from kit.page import render as render_page
from kit.printing import emit
from launch.cli.options import JSON, RUNS, SET, complete_recipes, complete_sites, load_with, shaped
from launch.plan import fit as planner
from launch.plan.assume import Range, assumed
from launch.plan.duration import recomputed
from launch.plan.fit import MOST_GPUS, NO, YES, Plan, Shape, ways_out
from launch.plan.memory import GIB
from launch.run import site as sites

#: What each part of a rank's memory is.
ABOUT = {
    "weights": "all {parameters} parameters, sharded over {ranks} GPUs, {stored}",
    "fp32 master weights": "DeepSpeed's own copy, sharded",
    "optimiser": "Adam's two moments, sharded, {moments}",
    "gradients, whole": "{gradients}",
    "gradients, sharded": "after scattering",
    "buckets": "of DeepSpeed, for scattering",
    "gathered: not in any layer": "embeddings, head{tower}: whole on every GPU",
    "gathered: layers": "whole weights of the layer at work and of the next",
    "inputs kept": "one for each layer: checkpointing keeps these and computes the rest again",
    "one layer's activations": "computed again while its gradients are",
    "loss": "{tokens:,} tokens x {vocabulary:,} words: {copies}",
    "fp32 gradients of a sub group": "while DeepSpeed updates",
}


@click.command()
@click.argument("recipe", shell_complete=complete_recipes)
@click.option(
    "--site",
    default="clariden",
    show_default=True,
    shell_complete=complete_sites,
    help="Where it would run.",
)
@click.option("--nodes", type=click.IntRange(min=1), help="Nodes of the training stage.")
@SET
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write a page (.html) or the scaling curve alone (.svg).",
)
@RUNS
@JSON
def plan(
    recipe: str,
    site: str,
    nodes: int | None,
    settings: tuple[str, ...],
    out: Path | None,
    runs: Path,
    as_json: bool,
) -> None:
    """Say whether RECIPE fits, how long it takes and what it costs.

    In ranges, from arithmetic; what is assumed and why: docs/planning.md. Nothing is submitted.

    \b
    mfo plan gemma-3-27b --site clariden
    mfo plan olmo-2-32b --site jupiter --nodes 16 --out plan.html
    """
    made = planner.make(load_with(recipe, settings), shaped(sites.load(site), nodes), runs)
    text = render(made)
    if out:
        with os_errors("the plan cannot be written", out, fix="--out FILE with another place"):
            write_text(out, page(made, text) if out.suffix == ".html" else figure(made, out))
    if as_json:
        emit(planner.as_json(made))
        return
    click.echo(text)
    if out:
        click.echo(f"written: {out}")


def render(made: Plan) -> str:
    """Give the plan as the terminal shows it."""
    head = [
        f"{made.recipe.title} on {made.site.title}",
        f"{made.chosen.words}, {made.chosen.ranks} x {made.place.title}; micro batch "
        f"{made.chosen.setup.micro} x accumulation {made.chosen.setup.accumulation} x "
        f"{made.chosen.ranks} GPUs = {made.batch} packed sequences a step",
    ]
    return "\n".join(
        [
            *head,
            "",
            *_answers(made),
            "",
            *_memory(made),
            "",
            *_time(made),
            "",
            *_shapes(made),
            "",
            *_next(made),
        ]
    )


def _answers(made: Plan) -> list[str]:
    one = made.chosen
    verdict = {"yes": "yes", "tight": "tight", "no": "NO"}[one.fits]
    lines = [
        (
            "fits",
            f"{verdict}: {span(one.memory.gib)} GiB of {made.place.memory_gib:g} on each GPU, "
            f"at its peak {_moment(one)}",
        ),
        (
            "takes",
            f"{span(one.time.hours)} hours: {span(made.steps.steps)} steps of "
            f"{span(one.time.step_s)} s",
        ),
        (
            "costs",
            f"{span(one.time.gpu_hours)} GPU-hours, {span(one.time.kwh)} kWh, "
            + (
                f"{span(one.time.cost)} {made.place.currency}"
                if one.time.cost
                else "price not known (hardware.price in the site's profile)"
            ),
        ),
        ("queue", _queue(made)),
    ]
    if reported := made.recipe.table("published").get("gpu_hours"):
        lines.append(
            ("known", f"{reported:g} GPU-hours were reported for the published run, on 32 GPUs")
        )
    if one.fits != YES:
        ways = ways_out(made) or ["no shape here: a larger GPU, or fewer tokens a sequence"]
        word = "instead" if one.fits == NO else "safer"
        lines += [(word if n == 0 else "", way) for n, way in enumerate(ways)]
    return columns(lines, indent=2)


def _queue(made: Plan) -> str:
    jobs, limit = made.chosen.jobs, f"{made.limit_h:g} h"
    if jobs.high <= 1:
        return f"one job within the limit of {limit}, no resubmission"
    again = f"{span(Range(jobs.low - 1, jobs.high - 1), digits=0)} resubmissions"
    calm = next((s for s in made.others if s.fits != NO and s.jobs.high <= 1), None)
    words = f"; --nodes {calm.nodes} would need none" if calm else ""
    return f"limit {limit}: {again}, each goes on from a checkpoint{words}"


def _moment(one: Shape) -> str:
    return {
        "gather": "while embeddings and head are gathered",
        "loss": "in the loss",
        "layer": "in a layer's backward pass",
        "last layer": "at the end of the backward pass",
        "reduce": "while gradients are scattered",
        "update": "in the optimiser's step",
    }[one.memory.moment]


def _memory(made: Plan) -> list[str]:
    one, dims = made.chosen, made.dims
    setup = one.setup
    dtype = {2: "bf16", 4: "fp32"}
    whole = (
        f"of every parameter: FSDP2 scatters them only with the last of {setup.accumulation} "
        "micro batches"
        if setup.keeps_whole
        else "of the layer at work, and of what is in no layer"
    )
    words = {
        "parameters": f"{dims.parameters / 1e9:.1f}B",
        "ranks": one.ranks,
        "stored": dtype[setup.stored]
        + (", no fp32 master copy" if setup.stored == 2 and setup.sharding == "fsdp2" else ""),
        "moments": "fp32" if setup.sharding == "zero3" else dtype[setup.stored],
        "gradients": whole,
        "tower": ", vision tower" if dims.vision else "",
        "tokens": setup.tokens,
        "vocabulary": dims.vocabulary,
        "copies": {
            "plain": "the logits three times in float32",
            "chunked": "the logits in chunks",
            "fused": "never all logits at once",
        }[setup.loss],
    }
    rows = [
        (f"{size / GIB:.1f}", part, ABOUT[part].format(**words))
        for part, size in one.memory.parts.items()
        if size >= 0.05 * GIB
    ]
    rows.append((span(one.memory.beside), "beside", "CUDA, NCCL, fragmentation: a guess"))
    return ["GiB of each GPU at the peak", *columns(rows, right=(0,), indent=2)]


def _time(made: Plan) -> list[str]:
    one, size, use = made.chosen, made.corpus, assumed("time.utilisation")
    hidden = (
        "hidden behind computing at best"
        if one.time.bound == "computing"
        else ("the network is what the step waits for")
    )
    known = "" if made.checkpoint.known else ", a guess: hardware.storage_gbps is not known"
    tokens = f"{span(size.tokens.times(1e-6))}M tokens"
    lines = [
        (
            "corpus",
            f"{tokens} in {size.rows:,} rows ({size.source}); {span(made.steps.sequences)} "
            f"packed sequences of {one.setup.length:,}"
            + ("; max_steps ends it sooner" if made.steps.capped else ""),
        ),
        (
            "compute",
            f"{span(one.time.compute_s)} s a step, at {use.low:.0%} to {use.high:.0%} of "
            f"{made.place.tflops:g} TFLOP/s" + _again(made),
        ),
        ("network", f"{span(one.time.network_s)} s a step, {hidden}"),
        (
            "storage",
            f"a checkpoint has {made.checkpoint.gb:,.0f} GB and takes "
            f"{span(made.checkpoint.seconds)} s to write{known}",
        ),
    ]
    return ["why", *columns(lines, indent=2)]


def _again(made: Plan) -> str:
    """Say how often the forward pass is computed again, and what to do about it."""
    times = recomputed(made.dims, made.chosen.setup)
    if not times:
        return ""
    if times == 1:
        return ", the recomputed forward pass included"
    return f",\nthe forward pass recomputed {times:.1f} times included (once: +checkpoint-once)"


def _shapes(made: Plan) -> list[str]:
    first = next((s for s in made.others if s.fits != NO), made.others[0])
    head = ("nodes", "GPUs", "batch", "GiB a GPU", "hours", "GPU-hours", "use", "")
    rows = []
    for one in made.others:
        use = first.time.gpu_hours.middle / one.time.gpu_hours.middle
        mark = {NO: "does not fit", YES: "", "tight": "tight"}[one.fits]
        notes = [
            mark,
            "this plan" if one.nodes == made.chosen.nodes else "",
            "pays up to here" if one is made.pays else "",
        ]
        rows.append(
            (
                str(one.nodes),
                str(one.ranks),
                f"{one.setup.micro} x {one.setup.accumulation}",
                span(one.memory.gib),
                span(one.time.hours),
                span(one.time.gpu_hours),
                f"{use:.0%}",
                ", ".join(n for n in notes if n),
            )
        )
    last = made.others[-1]
    beyond = (
        f"  {last.ranks * 2} to {MOST_GPUS:,} GPUs: no use. One step is {made.batch} packed "
        f"sequences, and {made.most_ranks} GPUs have one each;\n"
        "  more would need another global batch, which is another training"
    )
    return [
        "shapes (batch: micro batch x accumulation; use: GPU-hours of the smallest that fits / "
        "its own)",
        *columns(rows, head=head, right=range(7), indent=2),
        beyond,
    ]


def _next(made: Plan) -> list[str]:
    one, own = made.chosen, int(made.recipe.table("train")["micro_batch_size"])
    if one.fits == NO and made.smallest:
        one = made.smallest
    settings = dict(made.recipe.settings)
    if one.setup.micro != own:
        settings["train.micro_batch_size"] = one.setup.micro
    # What was set for the plan has to be set for the run: numbers and words as TOML writes them.
    more = "".join(f" --set {shlex.quote(f'{k}={_toml(v)}')}" for k, v in settings.items())
    words = f"mfo run {made.recipe.name} --site {made.site.name} --nodes {one.nodes}{more}"
    return [f"next:  {words} --dry-run", f"       {words}"]


def _toml(value: object) -> str:
    """Give a setting's value as `--set` reads it again."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + "}"
    return json.dumps(value)  # TOML writes numbers, texts, true, false and lists of them like JSON


def span(value: Range, digits: int = 1) -> str:
    """Give a range in words; so many digits behind the point of numbers below 10."""
    low, high = (f"{end:,.{0 if end >= 10 else digits}f}" for end in (value.low, value.high))
    return low if low == high else f"{low} to {high}"


def figure(made: Plan, out: Path) -> str:
    """Give the scaling curve as an SVG file.

    Raises:
        KitError: the file's name does not end in .svg or .html.
    """
    if out.suffix != ".svg":
        raise KitError(
            "--out takes a name that ends in .html (page) or .svg (figure)", where=str(out)
        )
    return _curve(made, alone=True)


def _curve(made: Plan, *, alone: bool) -> str:
    points = [
        {"gpus": s.ranks, "low": s.time.hours.low, "high": s.time.hours.high, "fits": s.fits != NO}
        for s in made.others
    ]
    return scaling(points, most=made.most_ranks, to=MOST_GPUS, pays=made.pays.ranks, alone=alone)


def page(made: Plan, text: str) -> str:
    """Give the plan as one page without network: the figure and the terminal's text."""
    return render_page(
        PAGE,
        style=STYLE,
        title=f"Plan: {made.recipe.name} on {made.site.name}",
        curve=Markup(_curve(made, alone=False)),  # noqa: S704  the kit's own SVG
        text=text,
    )
