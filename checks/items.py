"""The one format that verdicts read: a JSONL file with one line for each scored item.

Two kinds of row are understood::

    {"benchmark": "medqa", "id": "17", "score": 1.0, "repeat": 0, ...}
    {"id": "17", "gold": "C", "answer": "B", "response": "..."}      # with the benchmark named

An answer of ``null`` says that none could be read out of the response. Such an item scores 0, as
the published evaluations score it, and is counted as *unparsed* wherever the score is shown.

A score is a share of what the item can earn, 0..1. Rubric scores (``metric = "mean"`` in the
published table) may carry penalties and are read unclipped: from -10 to 1. They cannot exceed 1,
as no more than all points can be earned; below -10 a number is taken for raw points rather than
for a share. Rows of several training seeds are told apart by ``"seed": 42``.
lm-evaluation-harness's ``samples_*.jsonl`` and CSV files are read by :mod:`checks.foreign`.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path

from checks import foreign
from checks.item import LOWEST_RUBRIC, Item, item_from_row
from kit.errors import KitError

__all__ = ["LOWEST_RUBRIC", "Item", "by_benchmark", "item_from_row", "read_items", "write_items"]

SUFFIXES = (".jsonl", ".csv")


def read_items(
    path: Path, benchmark: str | None = None, *, rubric: Collection[str] = ()
) -> list[Item]:
    """Read a file of items, or every ``*.jsonl`` and ``*.csv`` of a folder.

    Args:
        path: a file or a folder.
        benchmark: the benchmark that rows without the key ``benchmark`` belong to; rows that
            name another one are refused.
        rubric: benchmarks whose scores may be below 0 (:meth:`checks.tables.Table.rubric`).

    Raises:
        KitError: on a missing or empty file, a broken or truncated line, broken UTF-8, a score
            that is not a number from 0 to 1 (rubric: -10 to 1), the same id, seed and repeat
            twice, or rows that belong to another benchmark or to none. It names the file and
            the line.
    """
    path = Path(path)
    items: list[Item] = []
    for file in _files(path):
        items.extend(_read_file(file, benchmark, rubric))
    seen: dict[tuple[str, str, int | None, int], None] = {}
    for item in items:
        key = (item.benchmark, item.id, item.seed, item.repeat)
        if key in seen:
            raise KitError(
                f"item {item.id!r} of {item.benchmark} is there twice (repeat {item.repeat})",
                where=str(path),
                cause="two evaluations were written into one place, or a run was appended to",
                fix='keep one of the two, or tell them apart with the key "repeat": 0, 1, … '
                'or, for several trainings, "seed"',
            )
        seen[key] = None
    return items


def write_items(path: Path, items: Iterable[Item]) -> None:
    """Write items as JSONL, beside the target first, so that no half-written file is left."""
    lines = (json.dumps(i.row(), ensure_ascii=False, allow_nan=False) + "\n" for i in items)
    write_atomically(Path(path), "".join(lines))


def write_atomically(path: Path, text: str) -> None:
    """Write text beside the target, then rename: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    beside = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(0o644)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def by_benchmark(items: Iterable[Item]) -> dict[str, list[Item]]:
    """Sort items into their benchmarks, in order of first appearance."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.benchmark, []).append(item)
    return groups


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise KitError(
            f"there is no file or folder {path}",
            where=str(path),
            cause="a mistyped path, or an evaluation that has not finished",
            fix="give the folder items/ of a run, or one file of it",
        )
    if not path.is_dir():
        return [path]
    files = sorted(f for f in path.iterdir() if f.suffix in SUFFIXES and f.is_file())
    if not files:
        raise KitError(
            "the folder holds no file of items",
            where=str(path),
            cause="the evaluation has not run, or wrote elsewhere",
            fix=f"give a folder with {' or '.join('*' + s for s in SUFFIXES)} files",
        )
    return files


def _read_file(path: Path, benchmark: str | None, rubric: Collection[str]) -> list[Item]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise KitError(
            f"the file of items cannot be read: {error.strerror}", where=str(path)
        ) from None
    if not data.strip():
        raise KitError(
            "the file of items is empty",
            where=str(path),
            cause="the evaluation was stopped before it wrote anything, or the disk was full",
            fix="evaluate again",
        )
    if path.suffix == ".csv":
        return foreign.read_csv(path, data, benchmark, rubric)
    rows = list(_rows(path, data))
    if foreign.is_lm_eval(rows[0][1]):
        return foreign.from_lm_eval(rows, path, benchmark, rubric)
    return [item_from_row(row, where, benchmark, rubric) for where, row in rows]


def _rows(path: Path, data: bytes) -> Iterable[tuple[str, dict[str, object]]]:
    lines = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
        except UnicodeDecodeError as error:
            raise KitError(
                f"line {number} is not UTF-8 (byte {error.start + 1} of the line)",
                where=where,
                cause="a file in another encoding, or damaged on the way",
                fix="convert it (iconv -t UTF-8) or copy it again",
            ) from None
        except _ConstantError as error:
            raise KitError(
                f"line {number} holds {error}, which is not a number",
                where=where,
                cause="the evaluation divided by zero or lost a value",
                fix="evaluate that item again; write null where an item was not scored",
            ) from None
        except (ValueError, RecursionError):
            cut = number == len(lines)  # no newline came after it
            raise KitError(
                f"line {number} is {'cut off in the middle' if cut else 'not valid JSON'}",
                where=where,
                cause="the writer was stopped, or the disk was full" if cut else "a damaged file",
                fix="evaluate again, or copy the file again",
            ) from None
        if not isinstance(row, dict):
            raise KitError(
                f"line {number} is not a JSON object",
                where=where,
                cause="the file is not a file of items",
                fix='each line is {"benchmark", "id", "score"} or {"id", "gold", "answer"}',
            )
        yield where, row


class _ConstantError(Exception):
    pass


def _no_constant(name: str) -> object:
    raise _ConstantError(name)
