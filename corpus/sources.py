"""Where the rows come from: the components of a corpus, local or on the hub.

A corpus file is TOML:

    [corpus]
    repository = "ORG/NAME"      # a data set on the hub; leave it out for files beside this one
    revision = "COMMIT"
    tokens = 150000000           # optional, of the whole, as published
    kind = "github"              # where the repository is one of GitHub's, with a commit
    [components.NAME]
    path = "data/NAME/train-*.parquet"   # .jsonl or .parquet, a pattern is allowed
    reader = "medquad"           # for files of another form: one of corpus.medquad.Reader
    rows = 216546                # optional, checked (corpus.counts), with `note` and `also`
    sha256 = "…"                 # optional, checked; of several files: a table {path = "…"}

A single .jsonl or .parquet file is a corpus of one component as it stands. A data set of the hub is
read from the cache that `mfo fetch` fills (corpus.store), never from the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from corpus import listing, medquad
from corpus.counts import Published
from corpus.listing import Listing
from corpus.store import Repo, Store
from kit.errors import KitError, nearest
from kit.files import read_jsonl, sha256_file

FETCH = "mfo fetch RECIPE"


@dataclass(frozen=True)
class Source:
    """One component: its files, and what the corpus file says of them."""

    name: str
    files: tuple[Path, ...]
    about: Published = field(default_factory=Published)
    reader: str | None = None

    @property
    def rows(self) -> int | None:
        """How many rows were published."""
        return self.about.rows


def load(
    spec: Path,
    only: Sequence[str] = (),
    *,
    cache: Path | None = None,
    revision: str | None = None,
) -> list[Source]:
    """Find the files of every component.

    Args:
        spec: a corpus file (.toml), or one .jsonl or .parquet file.
        only: take these components alone, in the file's order; none named: all.
        cache: where a data set of the hub was fetched to.
        revision: a commit in place of the revision that the corpus file names.

    Raises:
        KitError: the corpus file or a component's files are not there, an unknown key or component,
            a wrong sha256, or a repository that was not fetched.
    """
    if spec.suffix in (".jsonl", ".parquet"):
        _check_names([spec.stem], only, spec)
        return [Source(spec.stem, (_existing(spec),))]
    listed = read_spec(spec)
    _check_names(list(listed.components), only, spec)
    components = {n: c for n, c in listed.components.items() if not only or n in only}
    about, root = listed.corpus, spec.parent
    if about.repository:
        if cache is None:
            raise KitError(
                f"{about.repository} is read from a cache, and none is given", where=str(spec)
            )
        patterns = [c.path for c in components.values()]
        repo = Repo(about.kind, about.repository)
        root = Store(cache).verified(repo, revision or about.revision, patterns, FETCH)
    out = []
    for name, component in components.items():
        files = tuple(sorted(root.glob(component.path)))
        if not files:
            raise KitError(
                f"component {name} has no files",
                where=str(root / component.path),
                cause="the path in the corpus file matches nothing",
                fix=f"mend components.{name}.path in {spec}",
            )
        if component.sha256:
            _check_sha256(root, files, component.sha256, name)
        out.append(Source(name, files, component, component.reader))
    return out


def _check_names(known: list[str], only: Sequence[str], spec: Path) -> None:
    for name in only:
        if name not in known:
            raise KitError(
                f"the corpus has no component {name!r}; {nearest(str(name), known)}",
                where=str(spec),
            )


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise KitError("there is no such corpus file", where=str(path), fix="check --corpus")
    return path


def read_spec(spec: Path) -> Listing:
    """Read a corpus file.

    Raises:
        KitError: a broken file, an unknown key, a value of another type, or no component.
    """
    fix = "give a .toml that lists components, or one .jsonl or .parquet file"
    listed = listing.read(spec, "the corpus file", fix)
    if not listed.components:
        raise KitError("the corpus file lists no [components.NAME]", where=str(spec), fix=fix)
    return listed


def _check_sha256(
    root: Path, files: tuple[Path, ...], expected: str | Mapping[str, str], name: str
) -> None:
    if isinstance(expected, str):
        if len(files) != 1:
            raise KitError(f"component {name} has one sha256 but {len(files)} files",
                           fix="sha256 = {path = …}, a hash for each")  # fmt: skip
        expected = {files[0].relative_to(root).as_posix(): expected}
    there = {file.relative_to(root).as_posix(): file for file in files}
    if odd := sorted(there.keys() ^ expected.keys()):
        raise KitError(
            f"component {name} does not have the files that were pinned: {odd[0]} is "
            + ("not pinned" if odd[0] in there else "missing"),
            where=str(root),
        )
    for path, file in there.items():
        found = sha256_file(file)
        if found != expected[path]:
            raise KitError(
                f"component {name} is not the file that was pinned",
                where=str(file),
                cause=f"sha256 is {found}, expected {expected[path]}",
                fix="fetch it again, or pin the new file on purpose",
            )


def count_rows(path: Path) -> int:
    """Count the rows of a file without reading what is in them.

    Raises:
        KitError: a parquet file that is not whole.
    """
    if path.suffix == ".xml":
        return medquad.count(path)
    if path.suffix != ".parquet":
        with path.open("rb") as file:
            return sum(bool(line.strip()) for line in file)
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.ParquetFile(path).metadata.num_rows)
    except (pa.ArrowException, OSError) as error:
        raise KitError(f"this is not a whole parquet file: {error}", where=str(path)) from None


def read(source: Source) -> Iterator[tuple[str, object]]:
    """Give (place, raw row) for each row of a component, a file at a time, in file order.

    A row is None where a reader found one that holds nothing to train on, such as a question
    without an answer: it is left out, and counted.

    Raises:
        KitError: broken JSON, UTF-8 or XML, naming the place.
    """
    if source.reader:
        yield from medquad.read(source.reader, source.files)
        return
    for path in source.files:
        if path.suffix == ".parquet":
            yield from _read_parquet(path)
        else:
            for number, row in read_jsonl(path, "component's file"):
                yield f"{path}:{number}", row


def _read_parquet(path: Path) -> Iterator[tuple[str, object]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        number = 0
        # Batches, so that memory does not grow with the file.
        for batch in file.iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield f"{path} row {number}", row
    except (pa.ArrowException, OSError) as error:
        raise KitError(
            f"this is not a whole parquet file: {error}",
            where=str(path),
            cause="an interrupted download",
            fix="fetch it again",
        ) from None
