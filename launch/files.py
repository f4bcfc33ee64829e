"""Small things about files: hashes, and writes that are whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kit.errors import KitError


def sha256_file(path: Path) -> str:
    """Give the sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: object) -> str:
    """Give the sha256 of a JSON value, the same whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_files(files: Iterable[Path], root: Path) -> str:
    """Give one sha256 for a set of files: their paths below `root` and their bytes."""
    return digest({str(p.relative_to(root)): sha256_file(p) for p in sorted(files)})


def write_text(path: Path, text: str, *, mode: int | None = None) -> None:
    """Write a file whole or not at all: beside it first, then renamed.

    Args:
        path: its folder must exist.
        text: written as UTF-8.
        mode: permission bits, set before the first byte is written.
    """
    half = path.with_name(f".{path.name}.{os.getpid()}.half")
    try:
        with half.open("w", encoding="utf-8") as file:
            if mode is not None:
                half.chmod(mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None where it is missing, cut or something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def read_jsonl(path: Path, *, last_bytes: int | None = None) -> list[dict[str, Any]]:
    """Read the whole lines of a file that another process may be appending to.

    Args:
        path: a missing file has no lines.
        last_bytes: read only so much of its end; a line cut by that is left out.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - last_bytes) if last_bytes else 0)
            lines = file.read().splitlines(keepends=True)
    except OSError:
        return []
    out = []
    for line in lines:
        if line.endswith(b"\n"):
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                out.append(value)
    return out


def without_none(value: Any) -> Any:
    """Drop None from nested tables: TOML has no null."""
    if isinstance(value, Mapping):
        return {k: without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_none(v) for v in value]
    return value


def written(write: Any, path: Path) -> Any:
    """Write a file that was asked for; where that fails, say which and why."""
    try:
        return write()
    except OSError as error:
        raise KitError(
            f"this cannot be written: {error.strerror}",
            where=str(path),
            cause="no permission, a folder of that name, or a full disk",
            fix="give another place",
        ) from None
