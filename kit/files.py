"""Files: their hashes, writes that are complete or not there, and readers that name the line."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, TextIO

from kit.errors import KitError

_CAUSES = {
    errno.ENOENT: "there is no such file or folder",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.EROFS: "the file system cannot be written to",
    errno.EISDIR: "a folder has this name",
    errno.ENOTDIR: "a part of the path is a file",
    errno.EEXIST: "a file has this name",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
}


@contextmanager
def os_errors(what: str, path: Path, *, fix: str = "") -> Iterator[None]:
    """Turn an OSError into one that a user can act on.

    Args:
        what: what cannot be done, for example "the table cannot be read".
        path: the file, as the user knows it.
        fix: the next command or edit.

    Raises:
        KitError: in place of the OSError, with its reason.
    """
    try:
        yield
    except OSError as error:
        raise KitError(
            f"{what}: {error.strerror or error}",
            where=str(path),
            cause=_CAUSES.get(error.errno or 0, ""),
            fix=fix,
        ) from None


# --- hashes ---------------------------------------------------------------------------------------


def sha256_file(path: Path) -> str:
    """Give the sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: object) -> str:
    """Give the sha256 of a JSON value, the same whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# --- writing --------------------------------------------------------------------------------------


@contextmanager
def replacing(path: Path, *, mode: int | None = None, single: bool = False) -> Iterator[Path]:
    """Give a place beside `path`; when the block ends, the file there is synced and moved.

    Where the block fails, what was at `path` before is still there, and nothing beside it.

    Args:
        path: its folder must exist.
        mode: permission bits, set before the first byte is written: the file is there then. None:
            the process's own, and nothing is there, as some programs want it.
        single: no two processes write this file at a time. The file beside it then has a fixed
            name, so that what a kill left there, gigabytes of an image, is not left for ever.

    Raises:
        OSError: of the file system.
    """
    token = "" if single else f".{os.urandom(4).hex()}"
    half = path.with_name(f".{path.name}{token}.half")
    try:
        if single:
            half.unlink(missing_ok=True)
        if mode is not None:
            half.touch(mode, exist_ok=False)
            half.chmod(mode)  # whatever the process's own mask
        yield half
        handle = os.open(half, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


@contextmanager
def writing(
    path: Path, *, mode: int | None = None, errors: str = "strict", single: bool = False
) -> Iterator[TextIO]:
    """Give a stream of UTF-8 text that becomes `path` when the block ends; see `replacing`.

    Args:
        path, mode, single: as in `replacing`.
        errors: what becomes of characters that UTF-8 does not have, as in str.encode.
    """
    with (
        replacing(path, mode=mode, single=single) as half,
        half.open("w", encoding="utf-8", errors=errors, newline="\n") as file,
    ):
        yield file


@contextmanager
def writing_bytes(
    path: Path, *, mode: int | None = None, single: bool = False
) -> Iterator[BinaryIO]:
    """Give a stream of bytes that becomes `path` when the block ends; see `replacing`."""
    with replacing(path, mode=mode, single=single) as half, half.open("wb") as file:
        yield file


def write_text(
    path: Path, text: str, *, mode: int | None = None, errors: str = "strict", parents: bool = False
) -> None:
    """Write text, complete or not at all; see `writing`. With `parents`, make its folder too."""
    if parents:
        path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path, mode=mode, errors=errors) as file:
        file.write(text)


def write_bytes(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Write bytes, complete or not at all; see `replacing`."""
    with writing_bytes(path, mode=mode) as file:
        file.write(data)


def write_json(path: Path, value: object, *, sort_keys: bool = False) -> None:
    """Write JSON, complete or not at all; what JSON does not know is written as its text."""
    text = json.dumps(value, indent=1, ensure_ascii=False, default=str, sort_keys=sort_keys)
    write_text(path, text + "\n")


def write_jsonl(path: Path, rows: Iterable[object], *, finite: bool = False) -> None:
    """Write a JSON value a line, complete or not at all; `finite`: NaN is a ValueError."""
    with writing(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=not finite) + "\n")


# --- reading --------------------------------------------------------------------------------------


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None where it is missing, cut or something else."""
    try:
        value = json.loads(path.read_bytes().decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


class _NotFiniteError(Exception):
    pass


def _refuse_not_finite(name: str) -> object:
    raise _NotFiniteError(name)


_ANY_NUMBER = json.JSONDecoder()
_FINITE = json.JSONDecoder(parse_constant=_refuse_not_finite)


def read_jsonl(
    path: Path,
    what: str = "file",
    *,
    cut: Literal["refuse", "leave out"] = "refuse",
    finite: bool = False,
    fix: str = "copy or fetch the file again, or correct the line",
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give (line number from 1, object) for each line of a file; blank lines are passed over.

    Reads a line at a time, so that memory does not grow with the file.

    Args:
        path: the file, UTF-8.
        what: it is, for error messages: "the {what} cannot be read".
        cut: what becomes of a last line without its end, as a writer leaves it that was stopped:
            "refuse" it where it is not JSON, or "leave out" whatever stands there.
        finite: refuse NaN and Infinity, which JSON does not know and Python writes.
        fix: the next step where a line is wrong.

    Raises:
        KitError: naming file and line, where the file cannot be read, or a line is not UTF-8, not
            JSON or not an object.
    """
    decoder = _FINITE if finite else _ANY_NUMBER
    with (
        os_errors(f"the {what} cannot be read", path, fix="check the path, or fetch the file"),
        path.open("rb") as file,
    ):
        for number, line in enumerate(file, 1):
            if not line.strip() or (cut == "leave out" and not line.endswith(b"\n")):
                continue
            yield number, _object(line, number, decoder, f"{path}:{number}", fix)


def _object(
    line: bytes, number: int, decoder: json.JSONDecoder, where: str, fix: str
) -> dict[str, Any]:
    which = f"line {number}"
    try:
        # A byte order mark at the beginning of a file is let pass, as Python's json does.
        row = decoder.decode(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        raise KitError(
            f"{which} is not UTF-8 (byte {error.start + 1} of the line)",
            where=where,
            cause="another encoding, or damaged on the way",
            fix=f"iconv -f latin1 -t utf-8 converts it; or {fix}",
        ) from None
    except _NotFiniteError as error:
        raise KitError(
            f"{which} holds {error}, which is not a number",
            where=where,
            cause="its writer divided by zero or lost a value",
            fix="write null where there is no number, or make the file again",
        ) from None
    except (ValueError, RecursionError) as error:
        why, cut = str(error), False
        if isinstance(error, json.JSONDecodeError):
            why = f"{error.msg}, column {error.colno}"
            cut = not line.endswith(b"\n") and error.msg != "Extra data"
        raise KitError(
            f"{which} is cut off in the middle" if cut else f"{which} is not valid JSON: {why}",
            where=where,
            cause="the writer was stopped, the disk was full, or the copy was interrupted"
            if cut
            else "a damaged file, or more or less than one object on the line",
            fix=fix,
        ) from None
    if not isinstance(row, dict):
        raise KitError(
            f"{which} is not a JSON object",
            where=where,
            cause=f"it is a {type(row).__name__}",
            fix="write one object on each line",
        )
    return row


def tail_jsonl(path: Path, *, last_bytes: int | None = None) -> list[dict[str, Any]]:
    """Give the objects of a file that another process appends to, as far as they are there.

    A last line without its end, and lines that are no objects, are left out: a progress file that
    was damaged must not end what only watches it.

    Args:
        path: a missing file has no lines.
        last_bytes: read only so much of its end; a line cut by that is left out.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - last_bytes) if last_bytes else 0)
            lines = file.read().split(b"\n")
    except OSError:
        return []
    out = []
    for line in lines[:-1]:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            out.append(value)
    return out


def read_toml(path: Path, what: str, fix: str = "") -> dict[str, Any]:
    """Read a TOML file.

    Args:
        path: the file.
        what: what it is, for errors: "site laptop".
        fix: the next command where there is no such file.

    Raises:
        KitError: it is missing, cannot be read, or is not valid TOML (the line is named).
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise KitError(f"{what} is not there", where=str(path), fix=fix) from None
    except OSError as error:
        reason = error.strerror
        raise KitError(f"{what} cannot be read: {reason}", where=str(path), fix=fix) from None
    return parse_toml(data, what, path, fix="correct the line and run again")


def parse_toml(
    data: bytes, what: str, path: Path, *, cause: str = "", fix: str = ""
) -> dict[str, Any]:
    """Parse the bytes of a TOML file; for who wants their hash as well. Raises as `read_toml`."""
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # of TOML, of UTF-8, of dates and numbers
        raise KitError(
            f"{what} is not valid TOML: {error}", where=str(path), cause=cause, fix=fix
        ) from None


def without_none(value: Any) -> Any:
    """Drop None from nested tables: TOML has no null."""
    if isinstance(value, Mapping):
        return {k: without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_none(v) for v in value]
    return value
