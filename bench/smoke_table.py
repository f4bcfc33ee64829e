"""Measure the small recipes' published tables: one run for each seed, margins from their spread.

    python -m bench.smoke_table --seeds 42 1 2 3 4 5 --out checks/published/smoke.toml
    python -m bench.smoke_table --seeds 42 1 2 3 4 --out checks/published/twins.toml --recipes \
        smoke-apertus-70b smoke-apertus-8b smoke-olmo-2-32b smoke-eurollm
    python -m bench.smoke_table --seeds 42 --out checks/published/pocket.toml --recipes pocket \
        --benchmarks FOLDER --set model.base=FOLDER judge.model=FOLDER

Costs a whole run a recipe and seed (minutes each). A run that is there already (same --runs) is
read, not repeated, so that the command can be stopped and started again.

The margin is the smallest that lets a correct run pass: the lowest score that one further seed is
predicted to give (95% prediction interval over the seeds; at least half an item of spread), with
the 95% Wilson interval of its own items, must still lie within published ± margin; of several
recipes, the widest. Fewer than five seeds do not say what a further one gives: the margin is then
WIDE, and the table says why.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import subprocess
import sys
import textwrap
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from checks.items import read_items
from checks.statistics import mean_interval, wilson
from launch.inputs.wanted import from_hub
from launch.run import recipe as recipes
from launch.run.judged_benchmarks import own_files
from launch.stages.evaluate import shards_digest
from scoring import kinds

TITLES = {
    "medmcqa": "MedMCQA",
    "medqa": "MedQA",
    "pubmedqa": "PubMedQA",
    "medxpertqa": "MedXpertQA",
    "healthbench": "HealthBench",
    "auto_moove": "Auto-MOOVE",
}
CHANCE = {"medmcqa": 25.0, "medqa": 25.0, "pubmedqa": 33.33, "medxpertqa": 10.0}
#: Seeds below which their spread is not believed, and the margin in points that then stands.
ENOUGH = 5
WIDE = 35.0
WIDE_WHY = (
    "{seeds}: what a further one gives is not known. Wide enough for the 95% interval of {items} "
    "items and as much again"
)


def run(recipe: str, seed: int, runs: Path, words: list[str] | None = None) -> dict[str, Any]:
    """Give the scores and run.toml of a recipe's run with this seed, running it if need be.

    Args:
        words: further ones of `mfo run`: where weights and benchmarks lie.
    """
    folder = runs / (f"seed-{seed}" if recipe == "smoke" else f"{recipe}-seed-{seed}")
    found = sorted(folder.glob("*/evaluate/outputs.json"))
    if not found:
        # The table that a verdict needs is what is being measured: any other stands in, and the
        # verdict is not looked at.
        other = ["published.table=fully-open-meditron", "published.model=Gemma-3-27B-MeditronFO"]
        command = [sys.executable, "-m", "launch", "run", recipe, "--seed", str(seed)]
        command += [*(word for value in other for word in ("--set", value)), *(words or [])]
        subprocess.run([*command, "--runs", str(folder)], check=False)
        found = sorted(folder.glob("*/evaluate/outputs.json"))
    if not found:
        raise SystemExit(f"{recipe}, seed {seed}: no scores; next: mfo logs --runs {folder}")
    place = found[-1].parent
    spec = tomllib.loads((place.parent / "run.toml").read_text())
    scores = json.loads((place / "summary.json").read_text())
    for name, one in scores["trained"].items():
        if kinds.kind(name) in kinds.JUDGED:  # a mean, with the spread of its items
            file = place.parent / "items" / f"{name}.jsonl"
            items = [i.score for i in read_items(file, rubric={name}) if i.score is not None]
            found = mean_interval(items)
            one["half"] = 100 * max(found.estimate - found.low, found.high - found.estimate)
    facts = json.loads((place / "outputs.json").read_text())
    # Scored for another table, which names no weights: those of a local folder are hashed here.
    given = str(spec["recipe"]["data"]["model"].get("base") or "")
    local = given and Path(given).is_dir()
    own = facts.get("base_weights") or (shards_digest(Path(given)) if local else "")
    return {"scores": scores, "spec": spec, "base_weights": own}


def margin(scores: list[float], items: int) -> tuple[float, float]:
    """Give (prediction half-width, margin) in points for scores in points over `items` items."""
    from scipy.stats import t

    count, mean = len(scores), sum(scores) / len(scores)
    spread = math.sqrt(sum((s - mean) ** 2 for s in scores) / (count - 1))
    spread = max(spread, 100 / items / 2)  # five equal seeds do not prove that a sixth is equal
    half = float(t.ppf(0.975, count - 1)) * spread * math.sqrt(1 + 1 / count)
    lowest = max(0.0, mean - half) / 100
    low, _ = wilson(math.floor(lowest * items), items)
    return half, math.ceil(10 * (mean - 100 * low)) / 10


def mean_margin(scores: list[float], items: int, half: float) -> tuple[float, float]:
    """Give (prediction half-width, margin) in points for means whose items have an interval."""
    apart, _ = margin(scores, items)
    return apart, math.ceil(10 * (apart + half)) / 10


def share(numbers: dict[str, Any]) -> float:
    """Give a benchmark's score in per cent, 0 at least, as the tables print it."""
    return max(0.0, 100 * numbers.get("score", numbers.get("accuracy", 0.0)))


def widest(name: str, measured: dict[str, list[dict[str, Any]]]) -> tuple[float, str]:
    """Give the margin in points that holds for every recipe of the table, and why."""
    seeds = len(next(iter(measured.values())))
    items = next(iter(measured.values()))[0]["scores"]["trained"][name]["items"]
    first = next(iter(measured.values()))[0]
    if seeds < ENOUGH and real(first["spec"], name):
        # A real model is far from 0 and from 100 points: as wide as for an invented benchmark, the
        # margin would let its base pass for it.
        low, high = wilson(round(share(first["scores"]["trained"][name]) * items / 100), items)
        return math.ceil(1000 * (high - low)) / 10, (
            f"{counted(seeds)}: what a further one gives is not known. Twice the half-width of the "
            f"95% interval of {items} items: once for a run's own items, once for its seed"
        )
    if seeds < ENOUGH:
        return WIDE, WIDE_WHY.format(seeds=counted(seeds), items=items)
    found = []
    for results in measured.values():
        numbers = [r["scores"]["trained"][name] for r in results]
        values = [share(n) for n in numbers]
        found.append(mean_margin(values, items, max(n["half"] for n in numbers))
                     if kinds.kind(name) in kinds.JUDGED else margin(values, items))  # fmt: skip
    half, wide = max(found, key=lambda pair: pair[1])
    return wide, (f"a further seed falls within ±{half:.2f} points of the mean of {seeds} (95% "
                  f"prediction), and its own {items} items have an interval")  # fmt: skip


def real(spec: dict[str, Any], name: str) -> bool:
    """Whether a benchmark is the published one, not one that the kit invented."""
    told = spec["recipe"]
    measured = recipes.Recipe(told["name"], told["data"])
    return from_hub(recipes.load(told["name"])) and name not in own_files(measured)


def counted(seeds: int) -> str:
    """Give a number of seeds in words."""
    return "one seed" if seeds == 1 else f"{seeds} seeds"


def table(measured: dict[str, list[dict[str, Any]]], command: str) -> str:
    """Give the table as TOML.

    Args:
        measured: recipe -> what `run` gave for each seed, in the seeds' order.
        command: what measured it.
    """
    results = next(iter(measured.values()))
    packages = results[0]["spec"]["packages"]
    names = list(results[0]["scores"]["trained"])
    today = datetime.now(UTC).date().isoformat()
    lines = [
        "# Measured, not published by anyone else:",
        *textwrap.wrap(
            command, 96, initial_indent="#   ", subsequent_indent="#       ", break_on_hyphens=False
        ),
        "[table]",
        f'source = "measured with this kit on {today}: {counted(len(results))} on two cores of a '
        f'{platform.machine()} CPU, torch {packages["torch"]}, axolotl {packages["axolotl"]}"',
    ]
    for name in names:
        first = results[0]["scores"]["trained"][name]
        judged = kinds.kind(name) in kinds.JUDGED
        wide, why = widest(name, measured)
        lines += [
            f"\n[benchmarks.{name}]",
            f'title = "{TITLES[name]}{"" if real(results[0]["spec"], name) else " (invented)"}"',
            # Of a public benchmark the whole file's, of which a run draws some.
            f"items = {first['of' if real(results[0]['spec'], name) else 'items']}",
            "decimals = 2",
            'metric = "mean"' if judged else 'metric = "accuracy"',
            *([] if judged else [f"chance = {CHANCE[name]}"]),
            # Of a public benchmark, what is fetched and a copy hold the same items in other bytes.
            *([] if real(results[0]["spec"], name) else [f'sha256 = "{first["sha256"]}"']),
            f"margin = {wide}",
            f'margin_why = "{why}"',
        ]
    for recipe, results in measured.items():
        for which, title in (("base", f"{recipe}-untrained"), ("trained", recipe)):
            lines.append(f'\n[models."{title}"]')
            if which == "trained":
                lines.append(f'base = "{recipe}-untrained"')
            elif from_hub(recipes.load(recipe)) and (own := results[0]["base_weights"]):
                lines.append(f'weights = "{own}"')
            for name in names:
                if name not in results[0]["scores"][which]:
                    continue  # the base model is what comparisons are with
                values = [round(share(r["scores"][which][name]), 2) for r in results]
                mean = sum(values) / len(values)
                lines.append(f"{name} = {{ value = {mean:.2f}, seeds = {values} }}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is missing, write the table, print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", nargs="+", default=["smoke"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 1, 2, 3, 4, 5])
    parser.add_argument("--runs", type=Path, default=Path("runs/smoke-table"))
    parser.add_argument("--out", type=Path, default=Path("checks/published/smoke.toml"))
    parser.add_argument("--benchmarks", help="a folder, for recipes whose benchmarks are public")
    parser.add_argument("--set", nargs="*", default=[], help="as of mfo run")
    options = parser.parse_args()
    words = ["--benchmarks", options.benchmarks] if options.benchmarks else []
    words += [word for value in options.set for word in ("--set", value)]
    if options.recipes == ["smoke"] and len(options.seeds) < ENOUGH:
        parser.error("five seeds at least: fewer say too little about their spread")
    given = "" if options.recipes == ["smoke"] else f"--recipes {' '.join(options.recipes)} "
    command = f"python -m bench.smoke_table {given}--seeds {' '.join(map(str, options.seeds))}"
    measured = {
        recipe: [run(recipe, seed, options.runs, words) for seed in options.seeds]
        for recipe in options.recipes
    }
    text = table(measured, command)
    options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
