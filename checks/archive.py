"""Archives of plain files, written the same twice and read as hostile input.

The format is a gzipped tar of regular files with short names (POSIX ustar). Everything else that
tar can hold (links, devices, folders, long-name and extended headers) is refused, and nothing is
read beyond fixed limits, whatever the headers say.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from kit.errors import KitError

__all__ = ["pack", "unpack"]

MOST_MEMBERS = 2000
MOST_BYTES = 2**29  # 512 MiB of content, some hundred times the largest evaluation here
MOST_FILE = 2**28  # 256 MiB of archive
MOST_RATIO = 400  # content to archive; logs reach some 50, deflate's own limit is 1,032
RATIO_FROM = 2**24  # below 16 MiB of content no ratio is a danger
BLOCK = tarfile.BLOCKSIZE
#: What Python's gzip writes: no file name, no time, the best compression, no operating system.
HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,99}\Z")


def pack(members: Mapping[str, bytes]) -> bytes:
    """Give the archive of these files, in this order; the same files give the same bytes.

    Raises:
        KitError: a name or a size that :func:`unpack` would refuse.
    """
    total = sum(map(len, members.values()))
    if len(members) > MOST_MEMBERS or total > MOST_BYTES:
        raise KitError(
            f"{len(members):,} files with {total:,} bytes are more than a bundle holds",
            cause=f"the limits are {MOST_MEMBERS:,} files and {MOST_BYTES:,} bytes",
            fix="remove old logs from the run's folder",
        )
    out = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9, mtime=0, filename="") as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, data in members.items():
            if problem := _name_problem(name):
                raise KitError(f"a bundle cannot hold a file named {name!r}: {problem}")
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(data), 0o644, 0
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def unpack(path: Path) -> dict[str, bytes]:
    """Read an archive into memory: name -> content.

    Raises:
        KitError: it is missing, not such an archive, damaged, beyond the limits, or holds a
            path that climbs out, an absolute path, a link, or the same name twice.
    """
    try:
        size = path.stat().st_size
        if size > MOST_FILE:
            raise _refused(path, f"the file has {size:,} bytes, more than a bundle may have")
        with path.open("rb") as file:
            if file.read(len(HEADER)) != HEADER:
                raise _refused(path, "this is not a bundle: it does not begin as one")
            file.seek(0)
            with gzip.GzipFile(fileobj=file, mode="rb") as content:
                return _read(_Limited(content, size, path), path)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise _refused(path, "the bundle is damaged or cut off") from None
    except OSError as error:
        raise KitError(
            f"the bundle cannot be read: {error.strerror}", where=str(path),
            fix="mfo check-bundle FILE, with the file that mfo bundle wrote",
        ) from None  # fmt: skip


class _Limited:
    """The unpacked bytes, counted: beyond the limits it stops, whatever the headers promise."""

    def __init__(self, content: gzip.GzipFile, packed: int, path: Path) -> None:
        self.content, self.packed, self.path, self.seen = content, packed, path, 0

    def read(self, count: int) -> bytes:
        """Give exactly ``count`` bytes, fewer only at the end."""
        parts = []
        while count > 0:
            part = self.content.read(min(count, 2**20))
            if not part:
                break
            self.seen += len(part)
            self._check()
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _check(self) -> None:
        if self.seen > MOST_BYTES:
            raise _refused(self.path, f"it unpacks to more than {MOST_BYTES:,} bytes: a bomb")
        if self.seen > RATIO_FROM and self.seen > MOST_RATIO * self.packed:
            raise _refused(self.path, f"it unpacks to more than {MOST_RATIO} times itself: a bomb")


def _read(content: _Limited, path: Path) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    folded: set[str] = set()
    while True:
        block = content.read(BLOCK)
        if len(block) < BLOCK:
            raise _refused(path, "the bundle is damaged or cut off")
        if not any(block):
            break
        name, size = _header(block, path)
        if name.casefold() in folded:
            raise _refused(path, f"it holds {name!r} twice")
        folded.add(name.casefold())
        if len(members) >= MOST_MEMBERS:
            raise _refused(path, f"it holds more than {MOST_MEMBERS:,} files")
        data = content.read(size)
        padding = content.read(-size % BLOCK)
        if len(data) < size or any(padding):
            raise _refused(path, "the bundle is damaged or cut off")
        members[name] = data
    for name in folded:
        parts = name.split("/")
        if any("/".join(parts[:end]) in folded for end in range(1, len(parts))):
            raise _refused(path, f"a folder of {name!r} is also a file in it")
    while rest := content.read(2**20):
        if any(rest):
            raise _refused(path, "something follows the end of the archive")
    return members


def _header(block: bytes, path: Path) -> tuple[str, int]:
    """Read one member's header by itself: tarfile's reader would follow extended headers."""
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError, ValueError):
        raise _refused(path, "the bundle is damaged: a header cannot be read") from None
    name = info.name
    if info.type != tarfile.REGTYPE:
        raise _refused(path, f"{name!r} is not a plain file (a link, a folder, a device, …)")
    if problem := _name_problem(name):
        raise _refused(path, f"it holds a file named {name!r}: {problem}")
    if not 0 <= info.size <= MOST_BYTES:
        raise _refused(path, f"{name!r} claims {info.size:,} bytes: a bomb, or damaged")
    return name, info.size


def _name_problem(name: str) -> str:
    """Say what is wrong with a member's name; empty where nothing is."""
    if name.startswith("/") or "\\" in name or re.match(r"[A-Za-z]:", name):
        return "an absolute path"
    parts = name.split("/")
    if ".." in parts:
        return "a path that climbs out"
    if len(name) > 200 or len(parts) > 4 or not all(map(PART.match, parts)):
        return "names have letters, digits and ._+- only, in at most three folders"
    return ""


def _refused(path: Path, what: str) -> KitError:
    return KitError(
        what,
        where=str(path),
        cause="not a bundle of this kit, damaged on the way, or made to do harm; nothing of it "
        "was unpacked",
        fix="ask for the bundle again, and compare its sha256 with the one that was published",
    )
