"""`mfo verify --sensitivity`: how far each choice of the protocol moves the score."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from checks.items import Item
from checks.report.sensitivity import compared, markdown, show, show_compared
from checks.sensitivity import ask, compare, sensitivity
from checks.tables import Table, load_table
from kit.errors import KitError, nearest
from kit.files import os_errors, read_json, write_text
from kit.printing import emit
from launch.run.folder import Run
from launch.stages import judge
from scoring import kinds, mcq

Groups = Mapping[str, Sequence["Item"]]


def of_runs(runs: Sequence[Run], as_json: bool, given: Mapping[str, Any]) -> int:
    """Print the sensitivity of one run, or compare two runs that differ in their protocol."""
    if len(runs) > 2:
        raise KitError("--sensitivity takes one run, or two to compare")
    first = runs[0]
    published = first.recipe.table("published")
    table = load_table(given["published"] or published["table"])
    sides = [judge.items(run, table) for run in runs]
    if len(runs) == 1:
        model = given["model"] or published["model"]
        weights = first.recipe.table("model").get("weights") or first.folder("train") / "model"
        command = f"mfo verify {weights} --recipe {first.recipe.name}"
        told = first.recipe.table("eval")["chat_template"]
        hints = {
            "chat template": f"{command} --set eval.chat_template={str(not told).lower()}, then "
            f"mfo verify {first.name} THE_NEW_RUN --sensitivity",
            "PubMedQA 500 or 1,000": f"{command} --set eval.pubmedqa=labeled",
        }
        return _show(sides[0], table, model, hints, as_json, given)
    return _compare(sides, [run.name for run in runs], _differing(*runs), table, as_json, given)


def of_items(
    items: Groups,
    reference: Groups | None,
    table: Table | None,
    as_json: bool,
    given: Mapping[str, Any],
) -> int:
    """Print the sensitivity of items that were given, or compare them with --reference-items."""
    if given["benchmarks"] is not None:
        items = known(items, given["benchmarks"])
        reference = known(reference, given["benchmarks"]) if reference is not None else None
    if reference is not None:
        names = ["--items", "--reference-items"]
        return _compare([items, reference], names, [], table, as_json, given)
    hints = {
        "chat template": "mfo verify WEIGHTS --recipe … --set eval.chat_template=false, then "
        "mfo verify --items A --reference-items B --sensitivity",
    }
    if given["benchmarks"] is None:
        hints["PubMedQA 500 or 1,000"] = (
            "--benchmarks FOLDER with pubmedqa_test_pubids.json says which are the 500"
        )
    return _show(items, table, given["model"], hints, as_json, given)


def known(items: Groups, folder: Path) -> dict[str, list[Item]]:
    """Hold items against their benchmark's file: options and listing are taken from there.

    Raises:
        KitError: an id that the benchmark has not, or another right answer.
    """
    files = kinds.find_benchmarks(folder)
    out: dict[str, list[Item]] = {}
    for name, group in items.items():
        if name not in files or kinds.kind(name) != kinds.CHOICE:
            out[name] = list(group)
            continue
        questions = {q.id: q for q in mcq.read_benchmark(files[name], name, every=True)}
        strange = [item.id for item in group if item.id not in questions]
        if strange:
            raise KitError(
                f"{len(strange):,} of {len(group):,} predictions are of no item of {name}, "
                f"{strange[0]!r} first; {nearest(strange[0], questions)}",
                where=str(files[name]),
                cause="predictions for another split or version of the benchmark",
                fix="give the file that they were made on, or leave --benchmarks out",
            )
        out[name] = []
        for item in group:
            question = questions[item.id]
            if item.gold is not None and item.gold.strip().upper() != question.gold:
                raise KitError(
                    f"the right answer of {item.id!r} is {item.gold} in the predictions and "
                    f"{question.gold} in the benchmark",
                    where=str(files[name]),
                    cause="another version of the benchmark, or options in another order",
                    fix="give the file that the predictions were made on",
                )
            extra = dict(item.extra)
            if question.listed is not None:
                extra["listed"] = question.listed
            out[name].append(
                dataclasses.replace(item, options=item.options or question.options, extra=extra)
            )
    return out


def _differing(one: Run, other: Run) -> list[str]:
    """Say what two runs' protocols differ in; refuse runs that differ in more.

    Raises:
        KitError: other weights or other files: what differs is not the protocol alone.
    """
    facts = [run.folder("evaluate") / "inputs.json" for run in (one, other)]
    left, right = (read_json(path) or {} for path in facts)
    for key, what in (("weights", "weights"), ("benchmarks", "benchmark files")):
        a, b = left.get(key), right.get(key)
        if key == "benchmarks":
            shared = (a or {}).keys() & (b or {}).keys()
            a, b = ({n: side[n] for n in shared} for side in (a or {}, b or {}))
        if a != b:
            raise KitError(
                f"{one.name} and {other.name} have other {what}: their difference is not the "
                "protocol's",
                where=", ".join(map(str, facts)),
                fix="mfo verify WEIGHTS --recipe … --set eval.KEY=VALUE evaluates the same again",
            )
    tables = [run.recipe.table("eval") for run in (one, other)]
    skip = {"benchmark_files", "benchmark_revisions", "base"}
    return [
        f"eval.{key}: {tables[0].get(key)} against {tables[1].get(key)}"
        for key in sorted((tables[0].keys() | tables[1].keys()) - skip)
        if tables[0].get(key) != tables[1].get(key)
    ]


def _show(
    items: Groups,
    table: Table | None,
    model: str | None,
    hints: Mapping[str, str],
    as_json: bool,
    given: Mapping[str, Any],
) -> int:

    found = sensitivity(items, table, model)
    ask(found)
    for one in found:
        for cannot in one["cannot"]:
            cannot["next"] = hints.get(cannot["choice"], "")
    if as_json:
        emit({"sensitivity": found})
    else:
        show(found)
    _write(given, lambda: markdown(found), as_json)
    if not as_json and not given["markdown"]:
        click.echo("next: --markdown FILE or --json lists every item that changes")
    return 0


def _compare(
    sides: Sequence[Groups],
    names: Sequence[str],
    differing: Sequence[str],
    table: Table | None,
    as_json: bool,
    given: Mapping[str, Any],
) -> int:

    found = compare(sides[0], sides[1], table)
    if as_json:
        emit({"runs": list(names), "differ_in": list(differing), "comparison": found})
    else:
        click.echo(f"ours: {names[0]}; theirs: {names[1]}")
        for line in differing or ["the protocols are the same, or not known"]:
            click.echo(f"  {line}")
        show_compared(found)
    _write(given, lambda: compared(found, names), as_json)
    return 0


def _write(given: Mapping[str, Any], text: Any, as_json: bool) -> None:
    if given["markdown"]:
        with os_errors("this cannot be written", given["markdown"], fix="give another place"):
            write_text(given["markdown"], text(), parents=True)
        click.echo(f"markdown: {given['markdown']}", err=as_json)
