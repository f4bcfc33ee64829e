"""Small files, written whole or not at all, and the hash of any."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def write_whole(path: Path, text: str, *, errors: str = "strict") -> None:
    """Write a file beside its place, then put it there; what was there before is replaced.

    Args:
        path: the file; its folder is made where it is missing.
        text: what it is to hold, written as UTF-8.
        errors: what becomes of characters that UTF-8 does not have, as in str.encode.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}.half")
    try:
        half.write_text(text, encoding="utf-8", errors=errors)
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Give a file's sha256 in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
