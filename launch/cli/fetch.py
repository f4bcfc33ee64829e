"""`mfo fetch`: bring all that a recipe reads to a site's cache."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from corpus.counts import Count
from corpus.fetch import Part, Wanted, Watch
from corpus.fetch import fetch as bring
from corpus.lock import lock as fill_in
from corpus.origins import origins
from corpus.store import Store, Tick
from kit.errors import KitError
from kit.printing import emit
from launch.cli.options import JSON, complete_recipes, complete_sites
from launch.inputs import comparators, wanted
from launch.plan import choices, opened
from launch.run import recipe as recipes
from launch.run import site as sites
from launch.run.recipe import RECIPES
from launch.run.site import Site

MIRROR = click.option(
    "--mirror",
    "mirrors",
    multiple=True,
    metavar="PATH|URL",
    help="Asked before the origin: a folder in the hub's layout or of git repositories, a hub's "
    "address, a git server. May be given again.",
)
JOBS = click.option(
    "--jobs", type=click.IntRange(1, 32), default=4, show_default=True, help="Files at a time."
)
SITE = click.option(
    "--site",
    default="laptop",
    show_default=True,
    shell_complete=complete_sites,
    help="Whose cache is filled (MFO_CACHE wins).",
)
_TRUE = ("1", "ON", "YES", "TRUE")


@click.command()
@click.argument("recipe", shell_complete=complete_recipes)
@SITE
@MIRROR
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(["corpus", "model", "benchmarks", "graders", "comparators", "upstream"]),
    help="This part alone. May be given again.",
)
@JOBS
@click.option("--update", is_flag=True, help="Take what a branch stands for now.")
@JSON
def fetch(
    recipe: str,
    site: str,
    mirrors: tuple[str, ...],
    only: tuple[str, ...],
    jobs: int,
    update: bool,
    as_json: bool,
) -> None:
    """Bring all that RECIPE reads to the cache.

    On a machine with a network; every file is checked.

    Corpus, base model, benchmarks, their graders, the models that comparisons need and upstream's
    pinned files. Go on after an interruption by the same command; afterwards everything runs with
    HF_HUB_OFFLINE=1.

    \b
    mfo fetch gemma-3-27b --site clariden
    mfo fetch gemma-3-27b --only benchmarks --only upstream
    mfo fetch gemma-3-27b --mirror /copied/hub --mirror /mirrors/git
    """
    chosen, place = recipes.load(recipe), sites.load(site)
    console = Console(stderr=as_json, highlight=False)
    asked = wanted.wanted(chosen, only)
    parts = _bring(asked, place.cache_path, mirrors, console, jobs=jobs, update=update)
    if "model" in (only or wanted.PARTS):
        wanted.check_model(chosen, place)
    for line in () if only else comparators.not_wanted(chosen):
        console.print(line, markup=False, soft_wrap=True)
    counts = wanted.corpus_counts(chosen, place) if "corpus" in (only or wanted.PARTS) else []
    made: dict[str, str] = {}
    if wanted.from_hub(chosen) and "benchmarks" in (only or wanted.PARTS):
        folder, made = wanted.benchmark_folder(chosen, place)
        console.print(f"benchmarks: {folder}", markup=False, soft_wrap=True)
    if as_json:
        emit(
            {
                "cache": str(place.cache_path),
                "files": [_entry(p) for p in parts],
                "benchmarks": made,
                "rows": [asdict(count) for count in counts],
            }
        )
    else:
        _summarise(parts, console)
        for count in counts:
            console.print(str(count), markup=False, soft_wrap=True)
    _refuse_unexplained(counts)
    _open(recipe, place, only or wanted.PARTS, console)
    if as_json:
        return
    console.print(f"cache: {place.cache_path}", markup=False, soft_wrap=True)
    console.print(f"next:  mfo run {chosen.name} --site {place.name} --dry-run", markup=False)


def _open(name: str, site: Site, parts: Sequence[str], console: Console) -> None:
    """Read what was brought as a run will read it: a fetched file need not be a right one.

    Raises:
        KitError: a run would not be able to read it.
    """
    recipe, _ = choices.resolve(name, [])  # without what a run leaves out
    tied, _ = wanted.look(recipe, site, choices.FULL)
    for what, words, error in opened.look(tied, site, choices.FULL, parts):
        if error is not None:
            raise error
        console.print(f"read {what}: {words}", markup=False, soft_wrap=True)


def _refuse_unexplained(counts: Sequence[Count]) -> None:
    odd = [count for count in counts if not count.explained]
    if odd:
        raise KitError(
            str(odd[0]) + (f" (and {len(odd) - 1} more)" if len(odd) > 1 else ""),
            where="recipes/corpus.toml",
            cause="another revision than the one that was published on; the files stay, no run "
            "takes them",
            fix="fetch the right revision, or account for it in the component's `also`",
        )


def _entry(part: Part) -> dict[str, Any]:
    if part.done is None:
        raise KitError(f"{part.path} is not there")  # bring() does not return such a one
    return {
        "repository": part.wanted.repo.name,
        "commit": part.commit,
        "path": part.path,
        "size": part.done.size,
        "sha256": part.done.sha256,
        "checked_against": part.by,
        "fetched": part.brought,
    }


def _summarise(parts: Sequence[Part], console: Console) -> None:

    if not parts:
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("what", "repository", "commit"):
        table.add_column(name)
    for name in ("files", "MB", "fetched now"):
        table.add_column(name, justify="right")
    groups: dict[tuple[str, str, str], list[Part]] = {}
    for part in parts:
        key = (part.wanted.why, part.wanted.repo.name, part.commit)
        groups.setdefault(key, []).append(part)
    for (why, name, commit), mine in groups.items():
        size = sum(p.done.size for p in mine if p.done) / 1e6
        new = sum(p.brought for p in mine)
        table.add_row(
            escape(why), escape(name), commit[:12], f"{len(mine):,}", f"{size:,.1f}", f"{new:,}"
        )
    console.print(table)
    loose = sum(p.by == "nothing" for p in parts)
    console.print(f"{len(parts):,} files, every sha256 checked")
    if loose:
        console.print(
            f"note: {loose:,} of them had nothing to be checked against; their sha256 is written "
            "down now, and a later change is noticed",
            style="yellow",
        )


def lock_files(
    files: tuple[Path, ...], mirrors: tuple[str, ...], site_name: str, jobs: int
) -> None:
    """Fill in what is missing in lists of sources."""
    console = Console(highlight=False)
    cache = sites.load(site_name).cache_path
    for file in files or (RECIPES / "corpus.toml",):
        said = fill_in(
            file, Store(cache), lambda asked: _bring(asked, cache, mirrors, console, jobs=jobs)
        )
        for line in said:
            console.print(f"{file.name}: {line}", markup=False, soft_wrap=True)
        if not said:
            console.print(
                f"{file.name}: nothing was missing, and all of it is as it is pinned", markup=False
            )
    console.print("next:  git diff recipes, and commit what was filled in", markup=False)


def _bring(
    asked: Sequence[Wanted],
    cache: Path,
    mirrors: Sequence[str],
    console: Console,
    *,
    jobs: int,
    update: bool = False,
) -> list[Part]:
    if not asked:
        console.print("nothing to fetch: everything of this recipe comes with the kit")
        return []
    places = origins(mirrors, offline=offline())
    if offline():
        console.print("origins: local mirrors alone, because HF_HUB_OFFLINE is set", style="dim")
    with _Bars(console) as bars:
        return bring(asked, Store(cache), places, update=update, jobs=jobs, watch=bars)


def offline() -> bool:
    """Whether the user keeps the kit off the network (HF_HUB_OFFLINE, as the hub's library)."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE


class _Bars(Watch):
    """A bar for each file at work, and one for all."""

    def __init__(self, console: Console) -> None:

        self.console = console
        self.lock = threading.Lock()
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.running: dict[int, Any] = {}
        self.all: Any = None
        self.done = self.count = 0

    def __enter__(self) -> _Bars:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def plan(self, parts: Sequence[Part]) -> None:
        self.count = len(parts)
        self.all = self.bars.add_task(f"0 of {self.count} files", total=None)

    def begin(self, part: Part, doing: str) -> Tick:
        with self.lock:
            if id(part) in self.running:
                self.bars.remove_task(self.running[id(part)])
            name = part.path.rpartition("/")[2][-40:]
            task = self.bars.add_task(f"{name} is {doing}", total=part.expected.size)
            self.running[id(part)] = task
        return lambda count: self.bars.update(task, advance=count)

    def end(self, part: Part) -> None:
        with self.lock:
            self.bars.remove_task(self.running.pop(id(part)))
            self.done += 1
            self.bars.update(
                self.all,
                description=f"{self.done} of {self.count} files",
                total=self.count,
                completed=self.done,
            )
        if part.brought and not self.console.is_terminal:
            self.console.print(
                f"fetched {part.wanted.repo.name} {part.path}", markup=False, soft_wrap=True
            )

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)
