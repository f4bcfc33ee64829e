"""Stand-ins to fetch from: a hub's file API over HTTP, a folder in the hub's layout, a git mirror.

The HTTP one answers what the hub's library asks before and while it downloads: a repository's files
at a revision, HEAD and GET of a file, with ranges.
"""

import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # noqa: S324 - as git's


def lay_out(root: Path, kind: str, name: str, commit: str, files: Mapping[str, bytes]) -> Path:
    """Write a repository as the hub's cache does: blobs by hash, a snapshot of links, a ref."""
    folder = root / f"{kind}s--{name.replace('/', '--')}"
    (folder / "blobs").mkdir(parents=True, exist_ok=True)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(commit)
    for path, data in files.items():
        large = path.endswith((".parquet", ".safetensors", ".jsonl"))
        blob = folder / "blobs" / (hashlib.sha256(data).hexdigest() if large else git_sha1(data))
        blob.write_bytes(data)
        place = folder / "snapshots" / commit / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(os.path.relpath(blob, place.parent))
    return folder / "snapshots" / commit


def git_mirror(root: Path, name: str, files: Mapping[str, bytes]) -> str:
    """Make a bare git repository root/NAME.git; gives its commit."""
    work = root / "work"
    for path, data in files.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_bytes(data)

    def git(*words: str) -> str:
        who = ["-c", "user.name=t", "-c", "user.email=t@t"]
        done = subprocess.run(
            ["git", *who, "-C", str(work), *words], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "files")
    commit = git("rev-parse", "HEAD")
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    git("clone", "-q", "--bare", ".", str(root / f"{name}.git"))
    return commit


class StandInFiles:
    """State of the HTTP stand-in.

    Attributes:
        repos: ("dataset", "ORG/NAME") -> (commit, {path: bytes}).
        ranges: first byte of every GET of a file, by path.
        spoil: paths whose bytes are sent with one of them changed.
    """

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], tuple[str, dict[str, bytes]]] = {}
        self.ranges: list[tuple[str, int]] = []
        self.spoil: set[str] = set()
        self.url = ""


def _handler(hub: StandInFiles) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def answer(self, data: bytes, status: int = 200, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            if "Content_Length" not in headers:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path.startswith("/api/"):
                self.list(path.removeprefix("/api/"))
                return
            kind, rest = ("dataset", path.removeprefix("/datasets/")) if path.startswith(
                "/datasets/") else ("model", path[1:])  # fmt: skip
            name, _, rest = rest.partition("/resolve/")
            commit, _, file = rest.partition("/")
            found = hub.repos.get((kind, name))
            if not found or commit != found[0] or file not in found[1]:
                self.answer(b"", 404, X_Error_Code="EntryNotFound")
                return
            data = found[1][file]
            etag = hashlib.sha256(data).hexdigest()
            begin = 0
            if given := self.headers.get("Range", "").removeprefix("bytes="):
                begin = int(given.partition("-")[0])
            if self.command == "GET":
                hub.ranges.append((file, begin))
            if file in hub.spoil:
                data = data[:-1] + bytes([data[-1] ^ 1])
            self.answer(
                data[begin:], 206 if begin else 200, ETag=f'"{etag}"', X_Repo_Commit=commit,
                Accept_Ranges="bytes", Content_Length=str(len(data) - begin),
                Content_Range=f"bytes {begin}-{len(data) - 1}/{len(data)}",
            )  # fmt: skip

        def list(self, path: str) -> None:
            plural, _, rest = path.partition("/")
            name = rest.partition("/revision/")[0]
            found = hub.repos.get((plural.removesuffix("s"), name))
            if not found:
                self.answer(b"{}", 404, X_Error_Code="RepoNotFound")
                return
            siblings = [
                {"rfilename": file, "size": len(data), "blobId": git_sha1(data),
                 "lfs": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data),
                         "pointerSize": 100}}
                for file, data in found[1].items()
            ]  # fmt: skip
            said = {"id": name, "sha": found[0], "siblings": siblings, "private": False,
                    "downloads": 0, "likes": 0, "tags": []}  # fmt: skip
            self.answer(json.dumps(said).encode(), Content_Type="application/json")

    return Handler


@contextmanager
def stand_in_files() -> Iterator[StandInFiles]:
    """Serve the stand-in on a free port of this machine."""
    hub = StandInFiles()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
