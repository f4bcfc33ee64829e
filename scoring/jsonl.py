"""JSON Lines as the benchmarks' files hold them: one object a line, errors that name the line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kit.errors import KitError


def read_rows(path: Path, what: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give each row with its line number; blank lines are passed over.

    Args:
        path: the file.
        what: it is, for error messages.

    Raises:
        KitError: naming file and line, where the file is missing, not UTF-8 or not JSON objects.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise KitError(
            f"The {what} cannot be read.",
            where=str(path),
            cause=str(error.strerror),
            fix="check the path; fetch the file if it is not there",
        ) from error
    for number, line in enumerate(raw.split(b"\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise KitError(
                f"Line {number} is not UTF-8 (byte {error.start + 1} of the line).",
                where=where,
                cause="the file was saved in another encoding, or is not text",
                fix="convert it, for example: iconv -f latin1 -t utf-8",
            ) from error
        except (ValueError, RecursionError) as error:
            raise KitError(
                f"Line {number} is not JSON.",
                where=where,
                cause=f"{error}; a JSONL file has one whole object a line",
                fix="fetch the file again, or correct the line",
            ) from error
        if not isinstance(row, dict):
            raise KitError(
                f"Line {number} is not a JSON object.",
                where=where,
                cause=f"it is a {type(row).__name__}",
                fix="write one object a line",
            )
        yield number, row
