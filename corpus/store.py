"""The cache of what was fetched: files by repository and commit, each with its sha256 written down.

    CACHE/hub/datasets--ORG--NAME/snapshots/COMMIT/…   the hub's own layout, so that its libraries
    CACHE/hub/models--ORG--NAME/snapshots/COMMIT/…     read it too (HF_HUB_CACHE=CACHE/hub)
    CACHE/upstream/OWNER--NAME/COMMIT/…                pinned files of GitHub repositories
    CACHE/aside/…                                      what had a wrong hash: kept, never used

Beside each repository's snapshots, `refs/NAME` keeps the commit that a branch stood for when it was
fetched, and `fetched-COMMIT.json` what was fetched of it: the record that later reads are held
against.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from kit.errors import KitError
from kit.files import read_json, write_json, write_text

KINDS = ("dataset", "model", "github")
#: Bytes that are hashed or copied at a time.
PIECE = 2**20

Tick = Callable[[int], None]


@dataclass(frozen=True, order=True)
class Repo:
    """A repository.

    Attributes:
        kind: "dataset" or "model" on the hub, or "github".
        name: "ORG/NAME"; a few models of the hub have no organisation.
    """

    kind: str
    name: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no kind of repository: {self.kind!r}")
        parts = self.name.split("/")
        if len(parts) > 2 or any(p in ("", ".", "..") or "\\" in p for p in parts):
            raise KitError(f"{self.name!r} is no repository", cause="ORG/NAME is expected")

    @property
    def folder(self) -> str:
        """Its folder's name in the hub's layout."""
        flat = self.name.replace("/", "--")
        return flat if self.kind == "github" else f"{self.kind}s--{flat}"


def is_hex(value: object, digits: int) -> bool:
    """Whether a value is so many lower-case hexadecimal digits."""
    return isinstance(value, str) and len(value) == digits and not value.strip("0123456789abcdef")


def is_commit(revision: str) -> bool:
    """Whether a revision names one commit for ever, as a branch or tag does not."""
    return is_hex(revision, 40)


def check_path(path: str) -> str:
    """Give a file's path in a repository back where it stays inside it.

    Raises:
        KitError: an absolute path, or one that leads out.
    """
    parts = PurePosixPath(path)
    if not path or parts.is_absolute() or ".." in parts.parts or "\\" in path or "\0" in path:
        raise KitError(f"the path {path!r} leads out of its repository")
    return path


@dataclass(frozen=True)
class Digest:
    """What a file holds.

    Attributes:
        size: bytes.
        sha256: of its bytes.
        git_sha1: git's name for it, by which the hub knows small files.
    """

    size: int
    sha256: str
    git_sha1: str


def digest(path: Path, tick: Tick | None = None) -> Digest:
    """Read a file and give its hashes; `tick` is told the bytes as they go by."""
    size = path.stat().st_size
    sha256 = hashlib.sha256()
    sha1 = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            sha256.update(piece)
            sha1.update(piece)
            if tick:
                tick(len(piece))
    return Digest(size, sha256.hexdigest(), sha1.hexdigest())


class Store:
    """The cache's folders and records.

    Args:
        cache: its root; made where it is missing once something is written.
    """

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.hub = cache / "hub"

    def folder(self, repo: Repo) -> Path:
        """Everything that is kept of a repository."""
        return (self.cache / "upstream" if repo.kind == "github" else self.hub) / repo.folder

    def snapshot(self, repo: Repo, commit: str) -> Path:
        """The files of one commit, under their paths in the repository."""
        within = commit if repo.kind == "github" else f"snapshots/{commit}"
        return self.folder(repo) / within

    def commit(self, repo: Repo, revision: str) -> str | None:
        """The commit that a revision stands for here; None where it was never fetched."""
        if is_commit(revision):
            return revision
        try:
            kept = (self.folder(repo) / "refs" / check_path(revision)).read_text().strip()
        except OSError:
            return None
        return kept if is_commit(kept) else None

    def keep(self, repo: Repo, revision: str, commit: str) -> None:
        """Write down what commit a branch or tag stands for."""
        if not is_commit(revision):
            place = self.folder(repo) / "refs" / check_path(revision)
            place.parent.mkdir(parents=True, exist_ok=True)
            write_text(place, commit)

    def record(self, repo: Repo, commit: str) -> dict[str, Any]:
        """Give {"patterns": […], "files": {path: {size, sha256, mtime_ns, by}}}; empty if none."""
        empty: dict[str, Any] = {"patterns": [], "files": {}}
        found = read_json(self._record(repo, commit)) or {}
        whole = isinstance(found.get("files"), dict)
        return found if whole and isinstance(found.get("patterns"), list) else empty

    def note(
        self, repo: Repo, commit: str, files: Mapping[str, Any], patterns: Sequence[str]
    ) -> None:
        """Add to a record: files that are there and checked, patterns of which nothing is missing.

        Args:
            repo, commit: what it is about.
            files: path -> {"sha256": …, "by": what it was checked against}.
            patterns: that are complete now.
        """
        known = self.record(repo, commit)
        for path, said in files.items():
            stat = (self.snapshot(repo, commit) / path).stat()
            known["files"][path] = {**said, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        known["patterns"] = sorted({*known["patterns"], *patterns})
        self.folder(repo).mkdir(parents=True, exist_ok=True)
        write_json(self._record(repo, commit), known, sort_keys=True)

    def _record(self, repo: Repo, commit: str) -> Path:
        return self.folder(repo) / f"fetched-{commit}.json"

    def keep_aside(self, repo: Repo, commit: str, path: str, found: str) -> Path:
        """Move a file with a wrong hash to where nothing reads it; gives its new place."""
        place = self.snapshot(repo, commit) / path
        out = self.cache / "aside" / repo.folder / commit / f"{path}.{found[:12]}"
        out.parent.mkdir(parents=True, exist_ok=True)
        place.resolve().replace(out)  # the hub's libraries link to the bytes: those are what moves
        place.unlink(missing_ok=True)
        return out

    def half(self, repo: Repo, commit: str, path: str) -> Path:
        """Where the bytes of an unfinished file wait to be gone on with."""
        name = hashlib.sha256(f"{commit}/{path}".encode()).hexdigest()[:32]
        out = self.folder(repo) / "half" / name
        out.parent.mkdir(parents=True, exist_ok=True)
        return out

    def put(self, half: Path, repo: Repo, commit: str, path: str) -> None:
        """Put a finished file into its place."""
        place = self.snapshot(repo, commit) / path
        place.parent.mkdir(parents=True, exist_ok=True)
        half.replace(place)

    def verified(self, repo: Repo, revision: str, patterns: Sequence[str], fetch: str) -> Path:
        """Give a snapshot whose files are all there and have not changed since they were checked.

        As git does, a file of the recorded size and time is taken for the recorded one; any other
        is hashed again.

        Args:
            repo, revision: what is asked for.
            patterns: that must have been fetched whole.
            fetch: the command that would bring it, for the error.

        Raises:
            KitError: it was not fetched, not whole, or a file has changed.
        """
        commit = self.commit(repo, revision)
        known = self.record(repo, commit) if commit else None
        if commit is None or not known or not set(patterns) <= set(known["patterns"]):
            raise KitError(
                f"{repo.name} at {revision} has not been fetched"
                + (" whole" if known and known["files"] else ""),
                where=str(self.folder(repo)),
                cause="runs read verified files of the cache alone, and never the network",
                fix=f"on a machine with a network: {fetch}",
            )
        out = self.snapshot(repo, commit)
        for path, said in known["files"].items():
            if not _as_recorded(out / path, said):
                raise KitError(
                    f"a fetched file of {repo.name} is missing or has changed; it is not used",
                    where=str(out / path),
                    cause=f"its sha256 was {said['sha256']} when it was fetched",
                    fix=f"{fetch} keeps it aside and brings it again",
                )
        return out

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the cache: one process at a time brings files to it.

        Raises:
            KitError: another one is at it.
        """
        import fcntl

        self.cache.mkdir(parents=True, exist_ok=True)
        with (self.cache / ".fetch.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise KitError(
                    "another mfo fetch is at work on this cache", where=str(self.cache),
                    fix="wait until it is done, or set MFO_CACHE to another folder",
                ) from None  # fmt: skip
            yield


def _as_recorded(path: Path, said: Mapping[str, Any]) -> bool:
    try:
        stat = path.stat()
    except OSError:
        return False
    if stat.st_size != said.get("size"):
        return False
    if stat.st_mtime_ns == said.get("mtime_ns"):
        return True
    return digest(path).sha256 == said.get("sha256")
