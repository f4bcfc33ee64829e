"""Where the rows come from: the components of a corpus, local or on the hub.

A corpus file is TOML:

    [corpus]
    repository = "ORG/NAME"      # a data set on the hub; leave it out for files beside this one
    revision = "COMMIT"
    [components.NAME]
    path = "data/NAME/train-*.parquet"   # .jsonl or .parquet, a pattern is allowed
    rows = 216546                # optional, checked
    sha256 = "…"                 # optional, checked; of one file only

A single .jsonl or .parquet file is a corpus of one component as it stands.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus.errors import KitError

_KEYS = {
    "corpus": ("repository", "revision", "licence", "note"),
    "components": ("path", "rows", "sha256", "licence", "note"),
}


@dataclass(frozen=True)
class Source:
    """One component: its files, and what is known of them."""

    name: str
    files: tuple[Path, ...]
    rows: int | None = None
    sha256: str | None = None


def load(spec: Path, only: Sequence[str] = ()) -> list[Source]:
    """Find the files of every component.

    Args:
        spec: the corpus file, or one file of rows.
        only: take these components alone, in the file's order; none named: all.

    Raises:
        KitError: the corpus file or a component's files are not there, an unknown key or component,
            a wrong sha256, or a repository that cannot be had.
    """
    if spec.suffix in (".jsonl", ".parquet"):
        _check_names([spec.stem], only, spec)
        return [Source(spec.stem, (_existing(spec),))]
    data = _read(spec)
    _check_names(list(data["components"]), only, spec)
    if only:
        data["components"] = {n: c for n, c in data["components"].items() if n in only}
    about = data.get("corpus", {})
    root = spec.parent
    if "repository" in about:
        patterns = [c.get("path", "") for c in data["components"].values()]
        root = _download(about["repository"], about.get("revision", "main"), patterns, spec)
    out = []
    for name, component in data["components"].items():
        files = tuple(sorted(root.glob(component["path"])))
        if not files:
            raise KitError(
                f"component {name} has no files",
                where=str(root / component["path"]),
                cause="the path in the corpus file matches nothing",
                fix=f"mend components.{name}.path in {spec}",
            )
        expected = component.get("sha256")
        if expected:
            _check_sha256(files, expected, name)
        out.append(Source(name, files, component.get("rows"), expected))
    return out


def _check_names(known: list[str], only: Sequence[str], spec: Path) -> None:
    for name in only:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1) or known
            raise KitError(
                f"the corpus has no component {name!r}; known: {', '.join(near)}", where=str(spec)
            )


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise KitError("there is no such corpus file", where=str(path), fix="check --corpus")
    return path


def _read(spec: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(spec.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise KitError(
            f"the corpus file cannot be read: {error}",
            where=str(spec),
            fix="give a .toml that lists components, or one .jsonl or .parquet file",
        ) from None
    components = data.get("components")
    if not isinstance(components, dict) or not components:
        raise KitError("the corpus file lists no [components.NAME]", where=str(spec))
    tables = [("corpus", data.get("corpus", {}))]
    tables += [("components", c) for c in components.values()]
    for kind, table in tables:
        for key in table:
            if key not in _KEYS[kind]:
                near = difflib.get_close_matches(key, _KEYS[kind], n=1) or _KEYS[kind]
                raise KitError(
                    f"unknown key {key!r} under {kind}; known: {', '.join(near)}", where=str(spec)
                )
    for name, component in components.items():
        if not isinstance(component.get("path"), str):
            raise KitError(f"component {name} has no path", where=str(spec))
    return data


def _download(repository: str, revision: str, patterns: list[str], spec: Path) -> Path:
    """Bring the data set's files from the hub, or find them in its cache when offline."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            repository, repo_type="dataset", revision=revision, allow_patterns=patterns
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        first = str(error).strip().splitlines() or [type(error).__name__]
        raise KitError(
            f"the data set {repository} at {revision} cannot be had: {first[0]}",
            where=str(spec),
            cause="no network here, no access, or HF_HUB_OFFLINE=1 before anything was fetched",
            fix=f"on a machine with a network: hf download {repository} --repo-type dataset "
            f"--revision {revision}",
        ) from None
    return Path(folder)


def _check_sha256(files: tuple[Path, ...], expected: str, name: str) -> None:
    if len(files) != 1:
        raise KitError(f"component {name} has a sha256 but {len(files)} files")
    with files[0].open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise KitError(
            f"component {name} is not the file that was pinned",
            where=str(files[0]),
            cause=f"sha256 is {found}, expected {expected}",
            fix="fetch it again, or pin the new file on purpose",
        )


def read(source: Source) -> Iterator[tuple[str, object]]:
    """Give (place, raw row) for each row of a component, a file at a time, in file order.

    Raises:
        KitError: broken JSON or UTF-8, naming the line.
    """
    for path in source.files:
        yield from _read_parquet(path) if path.suffix == ".parquet" else _read_jsonl(path)


def _read_jsonl(path: Path) -> Iterator[tuple[str, object]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield f"{path}:{number}", json.loads(line)
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                kind = "UTF-8" if isinstance(error, UnicodeDecodeError) else "JSON"
                cut = "" if line.endswith(b"\n") else ", and the line has no end: the file is cut"
                raise KitError(
                    f"broken {kind} at line {number}: {error}{cut}",
                    where=f"{path}:{number}",
                    cause="an interrupted copy or an edit by hand",
                    fix="mend or remove the line, or copy the file again",
                ) from None


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
