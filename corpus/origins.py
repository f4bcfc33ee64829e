"""Where files are fetched from: the hub, a mirror of it, GitHub, a git repository, a local folder.

An origin answers two questions, for the kinds of repository that it knows: what is there at a
revision (`listing`), and the bytes of one file (`bring`). What it says is checked by corpus.fetch.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

from corpus.store import PIECE, Repo, Store, Tick, check_path, is_commit, is_hex
from kit.errors import KitError

#: Seconds that a server may stay silent.
SILENCE_S = 60


class UnreachableError(Exception):
    """This origin cannot give it; the message says why, and another may."""


@dataclass(frozen=True)
class Remote:
    """What an origin says of a file; None where it says nothing."""

    size: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None


@dataclass(frozen=True)
class Listing:
    """The files of a repository at one commit."""

    commit: str
    files: dict[str, Remote] = field(default_factory=dict)


class Origin:
    """One place to fetch from.

    Attributes:
        name: as it is printed.
        kinds: of repositories that can be had here.
        local: whether no network is needed.
    """

    name: str
    kinds: tuple[str, ...] = ()
    local = False

    def listing(self, repo: Repo, revision: str) -> Listing:
        """Say what is there; UnreachableError where it cannot."""
        raise UnreachableError(f"{self.name} lists no files of {repo.name} at {revision}")

    def bring(self, repo: Repo, commit: str, path: str, store: Store, tick: Tick) -> None:
        """Put a file into the store's place for it, going on from what is half there.

        Raises:
            UnreachableError: it is not to be had here.
        """
        raise NotImplementedError


class Hub(Origin):
    """huggingface.co, or another address that speaks its protocol; its own library does the work.

    Args:
        endpoint: None: HF_ENDPOINT, or huggingface.co.
    """

    kinds = ("dataset", "model")

    def __init__(self, endpoint: str | None = None) -> None:
        self.endpoint = endpoint.rstrip("/") if endpoint else None
        self.name = self.endpoint or os.environ.get("HF_ENDPOINT") or "huggingface.co"

    def listing(self, repo: Repo, revision: str) -> Listing:
        """Ask for the commit and its files, with their sizes and hashes."""
        from huggingface_hub import HfApi

        try:
            info: Any = HfApi(endpoint=self.endpoint).repo_info(
                repo.name, repo_type=repo.kind, revision=revision, files_metadata=True,
                timeout=SILENCE_S,
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - the library lets through httpx's and its own
            raise UnreachableError(f"{self.name}: {_first_line(error)}") from None
        files = {}
        for one in info.siblings or []:
            lfs = one.lfs.sha256 if one.lfs else None
            files[check_path(one.rfilename)] = Remote(one.size, lfs, None if lfs else one.blob_id)
        if not is_commit(info.sha or ""):
            raise UnreachableError(f"{self.name}: it names no commit for {repo.name} at {revision}")
        return Listing(info.sha, files)

    def bring(self, repo: Repo, commit: str, path: str, store: Store, tick: Tick) -> None:
        """Download through the hub's library into the store, which has the library's layout."""
        from huggingface_hub import hf_hub_download

        try:
            hf_hub_download(
                repo.name, path, repo_type=repo.kind, revision=commit, cache_dir=store.hub,
                endpoint=self.endpoint, tqdm_class=_silent(tick),
            )  # fmt: skip
        except OSError as error:
            if error.errno:  # a full disk, no permission: no other origin would help
                raise
            raise UnreachableError(f"{self.name}: {_first_line(error)}") from None
        except (KitError, Stopped):
            raise
        except Exception as error:  # noqa: BLE001
            raise UnreachableError(f"{self.name}: {_first_line(error)}") from None


class Stopped(BaseException):
    """Raised by a tick to end a transfer; like KeyboardInterrupt, nobody swallows it."""


def _silent(tick: Tick) -> Any:
    """Give the hub's library a progress bar that shows nothing and tells `tick`."""
    tqdm: Any = import_module("huggingface_hub.utils").tqdm

    class Silent(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> None:
            tick(int(n or 0))

    return Silent


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    kind = type(error).__name__
    return f"{kind}: {lines[0].strip()}" if lines else kind


class GitHub(Origin):
    """raw.githubusercontent.com: single files of public repositories at a commit."""

    kinds = ("github",)
    name = "github.com"
    address = "https://raw.githubusercontent.com"
    api = "https://api.github.com"

    def listing(self, repo: Repo, revision: str) -> Listing:
        """Ask for a commit's tree: one request, which needs no account."""
        import json
        from urllib.error import URLError
        from urllib.request import urlopen

        address = f"{self.api}/repos/{repo.name}/git/trees/{revision}?recursive=1"
        try:
            with urlopen(address, timeout=SILENCE_S) as answer:  # noqa: S310
                found = json.load(answer)
            entries = [e for e in found["tree"] if e["type"] == "blob"]
            files = {e["path"]: Remote(e["size"], git_sha1=e["sha"]) for e in entries}
        except (URLError, TimeoutError, ConnectionError) as error:
            raise UnreachableError(f"{address}: {_first_line(error)}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise UnreachableError(f"{address} gave no tree: {error}") from None
        if found.get("truncated"):
            raise UnreachableError(f"{address} gave a part of the tree: it is too large")
        return Listing(revision, files)

    def bring(self, repo: Repo, commit: str, path: str, store: Store, tick: Tick) -> None:
        """Download a file; they are small, so an unfinished one is begun anew."""
        from urllib.error import URLError
        from urllib.parse import quote
        from urllib.request import urlopen

        half = store.half(repo, commit, path)
        address = f"{self.address}/{repo.name}/{commit}/{quote(path)}"
        try:
            with urlopen(address, timeout=SILENCE_S) as answer, half.open("wb") as file:  # noqa: S310
                while piece := answer.read(PIECE):
                    file.write(piece)
                    tick(len(piece))
        except (URLError, TimeoutError, ConnectionError) as error:
            raise UnreachableError(f"{address}: {_first_line(error)}") from None
        store.put(half, repo, commit, path)


class Folder(Origin):
    """A local folder: in the hub's layout (a copied HF_HOME, hub or cache), or of git repositories.

    Args:
        root: holds `datasets--ORG--NAME` and `models--ORG--NAME`, also below `hub`; or OWNER/NAME,
            OWNER/NAME.git, NAME, NAME.git as git repositories; or is one itself.
    """

    kinds = ("dataset", "model", "github")
    local = True

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.name = str(root)

    def listing(self, repo: Repo, revision: str) -> Listing:
        """Walk a snapshot; the names of the blobs that its links lead to are their hashes."""
        if repo.kind == "github":
            return _tree(self._git(repo, revision), revision)
        commit, snapshot = self._snapshot(repo, revision)
        files = {}
        for path in sorted(p for p in snapshot.rglob("*") if p.is_file()):
            blob = path.resolve().name if path.is_symlink() else ""
            files[path.relative_to(snapshot).as_posix()] = Remote(
                path.stat().st_size,
                blob if is_hex(blob, 64) else None,
                blob if is_hex(blob, 40) else None,
            )
        return Listing(commit, files)

    def _snapshot(self, repo: Repo, revision: str) -> tuple[str, Path]:
        for root in (self.root, self.root / "hub"):
            folder = root / repo.folder
            commit = revision
            if not is_commit(revision):
                try:
                    commit = (folder / "refs" / check_path(revision)).read_text().strip()
                except OSError:
                    continue
            if is_commit(commit) and (folder / "snapshots" / commit).is_dir():
                return commit, folder / "snapshots" / commit
        raise UnreachableError(f"{self.root} holds no {repo.folder} at {revision}")

    def bring(self, repo: Repo, commit: str, path: str, store: Store, tick: Tick) -> None:
        """Copy a file, from where an earlier copy ended."""
        if repo.kind == "github":
            _from_git(self._git(repo, commit), repo, commit, path, store, tick)
            return
        _, snapshot = self._snapshot(repo, commit)
        if not (snapshot / path).is_file():
            raise UnreachableError(f"{snapshot} holds no {path}")
        half = store.half(repo, commit, path)
        with (snapshot / path).open("rb") as source, half.open("ab") as file:
            done = min(file.tell(), os.fstat(source.fileno()).st_size)
            file.truncate(done)
            source.seek(done)
            tick(done)
            while piece := source.read(PIECE):
                file.write(piece)
                tick(len(piece))
        store.put(half, repo, commit, path)

    def _git(self, repo: Repo, commit: str) -> Path:
        short = repo.name.rpartition("/")[2]
        names = (repo.name, f"{repo.name}.git", short, f"{short}.git", ".")
        for folder in (self.root / name for name in names):
            if (
                folder.is_dir()
                and _git(folder, "cat-file", "-e", f"{commit}^{{commit}}") is not None
            ):
                return folder
        raise UnreachableError(f"{self.root} holds no git repository with {repo.name}'s {commit}")


class GitUrl(Origin):
    """A git server; one commit is fetched from URL, URL/OWNER/NAME.git or URL/OWNER/NAME."""

    kinds = ("github",)

    def __init__(self, url: str) -> None:
        self.url = self.name = url.rstrip("/")
        self._one = Lock()

    def listing(self, repo: Repo, revision: str) -> Listing:
        """Fetch the commit into a folder that goes again, and read its tree."""
        with TemporaryDirectory() as folder:
            self._clone(repo, revision, Path(folder))
            return _tree(Path(folder), revision)

    def bring(self, repo: Repo, commit: str, path: str, store: Store, tick: Tick) -> None:
        """Fetch the commit once, then read the file from it."""
        local = store.folder(repo) / "git"
        with self._one:  # files come several at once, their repository once
            if _git(local, "cat-file", "-e", f"{commit}^{{commit}}") is None:
                self._clone(repo, commit, local)
        _from_git(local, repo, commit, path, store, tick)

    def _clone(self, repo: Repo, commit: str, local: Path) -> None:
        local.mkdir(parents=True, exist_ok=True)
        _git(local, "init", "-q", "--bare")
        # Old servers give branches alone; the commit is then somewhere in them.
        for what in (("--depth=1", commit), ("+refs/heads/*:refs/heads/*",)):
            for url in (f"{self.url}/{repo.name}.git", f"{self.url}/{repo.name}", self.url):
                flags = [w for w in what if w.startswith("--")]
                refs = [w for w in what if not w.startswith("--")]
                _git(local, "fetch", "-q", "--no-tags", *flags, "--", url, *refs)
                if _git(local, "cat-file", "-e", f"{commit}^{{commit}}") is not None:
                    return
        raise UnreachableError(f"{self.url} gives no commit {commit} of {repo.name}")


def _git(folder: Path, *arguments: str) -> bytes | None:
    """Run git in a folder; gives its output, None where it fails."""
    # safe.directory: a mirror belongs to somebody else as a rule, and its hooks are not run here.
    command = ["git", "-c", "safe.directory=*", "-C", str(folder), *arguments]
    environment = {
        **os.environ,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CEILING_DIRECTORIES": str(folder.resolve().parent),
    }
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        environment.pop(name, None)
    try:
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def _tree(folder: Path, commit: str) -> Listing:
    """List a commit's files, with their sizes and git's names for them."""
    lines = (_git(folder, "ls-tree", "-r", "-l", "-z", commit) or b"").split(b"\0")
    files = {}
    for line in filter(None, lines):
        about, _, path = line.decode("utf-8", "surrogateescape").partition("\t")
        _, kind, sha1, size = about.split()
        if kind == "blob":
            files[path] = Remote(int(size), git_sha1=sha1)
    return Listing(commit, files)


def _from_git(folder: Path, repo: Repo, commit: str, path: str, store: Store, tick: Tick) -> None:
    data = _git(folder, "cat-file", "blob", f"{commit}:{path}")
    if data is None:
        raise UnreachableError(f"{folder} has no {path} at {commit}")
    half = store.half(repo, commit, path)
    half.write_bytes(data)
    tick(len(data))
    store.put(half, repo, commit, path)


_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def mirror(given: str) -> list[Origin]:
    """Read one --mirror: the origins that it stands for.

    Raises:
        KitError: neither a folder that is there nor an address.
    """
    if _URL.match(given):
        git = GitUrl(given)
        return [Hub(given), git] if given.lower().startswith(("http://", "https://")) else [git]
    if Path(given).expanduser().is_dir():
        return [Folder(Path(given).expanduser())]
    if re.match(r"[\w.-]+@[\w.-]+:", given):
        return [GitUrl(given)]
    raise KitError(
        f"there is no such mirror: {given}", where="--mirror",
        cause="neither a folder on this machine nor an address with ://",
        fix="give a folder in the hub's layout, a folder of git repositories, or a URL",
    )  # fmt: skip


def origins(mirrors: Sequence[str], *, offline: bool) -> list[Origin]:
    """Give the origins in the order in which they are asked: mirrors first.

    Args:
        mirrors: as --mirror has them.
        offline: leave out everything that needs a network.
    """
    found = [origin for given in mirrors for origin in mirror(given)]
    if offline:
        return [origin for origin in found if origin.local]
    return [*found, Hub(), GitHub()]
