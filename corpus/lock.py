"""`mfo corpus lock`: write down what was fetched, so that nobody trains on other bytes unawares.

A list of sources is TOML in one of two shapes: recipes/corpus.toml ([corpus] with repository and
revision, [components.NAME] with path, rows, sha256) or recipes/benchmarks.toml ([benchmarks.NAME]
with all of these). `lock` fetches the files, then fills in what is missing: the commit in place of
a branch, rows, licence, sha256. It never changes what is there: where that disagrees with the
files, it writes nothing and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from corpus import listing
from corpus.counts import Count, account
from corpus.fetch import Part, Wanted
from corpus.listing import Benchmark, Component, Repository, Selection
from corpus.sources import count_rows
from corpus.store import Repo, Store, is_commit
from kit.errors import KitError
from kit.files import write_text


@dataclass(frozen=True)
class Entry:
    """One pinned data set, or a part of one.

    Attributes:
        table: where its path, rows and sha256 stand in the file, for example
            ("components", "curated_qa").
        about: where its repository, revision and licence stand.
        spec: what the first of these tables says.
        home: what the second says.
    """

    table: tuple[str, ...]
    about: tuple[str, ...]
    spec: Component
    home: Repository | Benchmark

    @property
    def name(self) -> str:
        """The entry's own name."""
        return self.table[-1]

    @property
    def repo(self) -> Repo:
        """Where it is."""
        return Repo(self.home.kind, self.home.repository)

    @property
    def revision(self) -> str:
        """A commit, or a branch until it is locked."""
        return self.home.revision

    @property
    def licence(self) -> str:
        """Its own, else that of the whole; "": not known yet."""
        return self.spec.licence or self.home.licence

    @property
    def selection(self) -> Selection | None:
        """Which items of a benchmark are asked."""
        return self.spec.selection if isinstance(self.spec, Benchmark) else None

    @property
    def examples(self) -> Component | None:
        """What is shown before a benchmark's questions."""
        return self.spec.examples if isinstance(self.spec, Benchmark) else None

    def pins(self) -> dict[str, str]:
        """Give the pinned sha256 by path; a path with a pattern has none before it is a table."""
        given = self.spec.sha256 or {}
        return {self.spec.path: given} if isinstance(given, str) else dict(given)

    def wanted(self, why: str) -> Wanted:
        """What to fetch for it."""
        return Wanted(self.repo, self.revision, (self.spec.path,), why, self.pins())


def entries(file: Path) -> list[Entry]:
    """Read a list of sources; one whose files lie beside it has none.

    Raises:
        KitError: a broken file, or one that says what it may not.
    """
    listed = listing.read(file, "the list of sources")
    parts = listed.components if listed.corpus.repository else {}
    return [
        *(Entry(("components", n), ("corpus",), c, listed.corpus) for n, c in parts.items()),
        *(Entry(t := ("benchmarks", n), t, b, b) for n, b in listed.benchmarks.items()),
    ]


def lock(
    file: Path, store: Store, fetch: Callable[[Sequence[Wanted]], Sequence[Part]]
) -> list[str]:
    """Fill in a list of sources.

    Args:
        file: the list; replaced whole, its comments and order kept.
        store: where the files are fetched to.
        fetch: brings what is wanted there.

    Returns:
        A line for each thing that was filled in, and for each number of rows that is not the
        published one but accounted for; none where nothing was missing.

    Raises:
        KitError: what stands in the file disagrees with what was fetched; the file is as it was.
    """
    found = entries(file)
    if not found:
        raise KitError(
            "this list names no data set of the hub, so there is nothing to lock", where=str(file)
        )
    cards = [Wanted(e.repo, e.revision, ("*README.md",), e.name) for e in found if not e.licence]
    parts = fetch([*(entry.wanted(entry.name) for entry in found), *cards])
    changes: list[tuple[tuple[str, ...], str, Any]] = []
    wrong: list[str] = []
    counts = [_compare(entry, parts, store, changes, wrong) for entry in found]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise KitError(
            f"{wrong[0]}{more}",
            where=str(file),
            cause="what is pinned is never changed by this command, and nothing was written",
            fix="find out why; then delete the line, and lock again",
        )
    said = [str(count) for count in counts if count.published not in (None, count.found)]
    return said + (_write(file, changes) if changes else [])


def _compare(
    entry: Entry,
    parts: Sequence[Part],
    store: Store,
    changes: list[tuple[tuple[str, ...], str, Any]],
    wrong: list[str],
) -> Count:
    """Note what is missing of an entry and what is wrong; gives its rows."""
    path = entry.spec.path
    mine = [p for p in parts if p.wanted.repo == entry.repo and _matches(p, entry)]
    commit = mine[0].commit
    if not is_commit(entry.revision) and (entry.about, "revision", commit) not in changes:
        changes.append((entry.about, "revision", commit))
    if not entry.licence:
        licence = _licence(store.snapshot(entry.repo, commit) / "README.md")
        if licence and (entry.about, "licence", licence) not in changes:
            changes.append((entry.about, "licence", licence))
    folder = store.snapshot(entry.repo, commit)
    rows = sum(count_rows(folder / p.path) for p in mine)
    count = account(entry.name, rows, entry.spec)
    if count.published is None:
        changes.append((entry.table, "rows", rows))
    elif not count.explained:
        wrong.append(f"{entry.name} has {rows:,} rows, pinned are {count.published:,}")
    found = {p.path: p.done.sha256 for p in mine if p.done is not None}
    pinned = entry.pins()
    if not pinned:
        one = set(found) == {path}
        changes.append((entry.table, "sha256", found[path] if one else found))
    elif pinned != found:
        odd = min(p for p in {**pinned, **found} if pinned.get(p) != found.get(p))
        wrong.append(
            f"{entry.name}: {odd} has sha256 {found.get(odd)}, pinned is {pinned.get(odd)}"
        )
    return count


def _matches(part: Part, entry: Entry) -> bool:
    return fnmatch(part.path, entry.spec.path) and part.wanted.revision == entry.revision


def _licence(card: Path) -> str | None:
    """Read `license:` from the head of a data set's card, where the card was fetched too."""
    try:
        lines = card.read_text(encoding="utf-8").split("---")[1].splitlines()
    except (OSError, UnicodeDecodeError, IndexError):
        return None
    given = [line.partition(":")[2].strip() for line in lines if line.startswith("license:")]
    return given[0].upper() if given and given[0] else None


def _write(file: Path, changes: Sequence[tuple[tuple[str, ...], str, Any]]) -> list[str]:
    import tomlkit

    document = tomlkit.parse(file.read_text(encoding="utf-8"))
    said = []
    for table, key, value in changes:
        place: Any = document
        for name in table:
            place = place[name]
        was = place.get(key)
        item: Any = value
        if isinstance(value, dict):
            item = tomlkit.table()
            item.update(value)
            item.add(tomlkit.nl())
        elif key == "revision" and was:
            item = tomlkit.item(value)
            item.comment(f'"{was}" when it was locked')
        place[key] = item
        shown = f"{len(value)} files" if isinstance(value, dict) else value
        said.append(f"{'.'.join(table)}.{key} = {shown}")
    write_text(file, tomlkit.dumps(document))
    return said
