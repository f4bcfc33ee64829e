"""Items that other programs wrote, as rows of the kit's format: lm-eval's samples, CSV files.

lm-evaluation-harness (0.4.11, ``evaluator.py``) logs one line for each item and filter, with the
keys doc_id, doc, target, arguments, resps, filtered_resps, filter, metrics and each metric's
value. Where several filters ran, the one that the published evaluation used is taken.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from kit.errors import KitError

__all__ = ["csv_rows", "is_lm_eval", "lm_eval_rows"]

PREFERRED_FILTERS = ("strict-final-answer", "strict-match")
PREFERRED_METRICS = ("exact_match", "acc")
#: File and line, and what stands there.
Row = tuple[str, Mapping[str, object]]
INVALID = "[invalid]"  # what the harness's regex filter gives where nothing matched


def is_lm_eval(row: Mapping[str, object]) -> bool:
    """Tell whether a row was logged by lm-evaluation-harness."""
    return {"doc_id", "doc", "filtered_resps", "metrics"} <= row.keys()


def lm_eval_rows(
    rows: Sequence[Row], path: Path, benchmark: str | None
) -> list[tuple[str, dict[str, object]]]:
    """Turn the rows of one ``samples_<task>_<time>.jsonl`` into rows of the kit's format.

    Args:
        rows: (file and line, row) for each line.
        path: the file; its name says which task it was.
        benchmark: the benchmark's name; without it, the task's name without a trailing ``_g``.
    """
    match = re.match(r"samples_(.+?)_\d{4}-\d\d-\d\dT.*$", path.stem)
    if benchmark is None and match is None:
        raise KitError(
            "the file's name does not say which task these samples are of",
            where=str(path),
            cause="it was renamed; the harness writes samples_<task>_<time>.jsonl",
            fix="add `--benchmark NAME`",
        )
    name = benchmark or (match[1].removesuffix("_g") if match else "")
    filters = list(dict.fromkeys(str(row.get("filter", "none")) for _, row in rows))
    chosen = next((f for f in PREFERRED_FILTERS if f in filters), filters[0])
    if len(filters) > 1 and chosen not in PREFERRED_FILTERS:
        raise KitError(
            f"the samples were scored by {len(filters)} filters: {', '.join(filters)}",
            where=str(path),
            cause="a task with several answer extractions, none of them known to the kit",
            fix="keep the lines of the filter that the published scores used",
        )
    return [
        (where, _kit_row(row, where, name))
        for where, row in rows
        if str(row.get("filter", "none")) == chosen
    ]


def _kit_row(row: Mapping[str, object], where: str, name: str) -> dict[str, object]:
    if not is_lm_eval(row):
        raise KitError("this line is not a sample of the harness, the others are", where=where)
    metrics = row["metrics"]
    names = [str(m) for m in metrics] if isinstance(metrics, list) else []
    metric = next((m for m in PREFERRED_METRICS if m in names), names[0] if len(names) == 1 else "")
    if not metric or metric not in row:
        raise KitError(
            f"the sample's metrics are {', '.join(names) or 'none'}: it is not clear which scores",
            where=where,
            fix=f"the kit reads {' or '.join(PREFERRED_METRICS)}, or a single metric",
        )
    doc = row["doc"] if isinstance(row["doc"], dict) else {}
    own = doc.get("id")
    identity = own if isinstance(own, str | int) and not isinstance(own, bool) else row["doc_id"]
    answer = _first(row["filtered_resps"])
    kit: dict[str, object] = {"benchmark": name, "id": identity, "score": row[metric]}
    kit["gold"] = row.get("target")
    kit["answer"] = None if answer in (INVALID, "", None) else answer
    response = _first(row.get("resps"))
    if response is not None:
        kit["response"] = response
    prompt = _first(row.get("arguments"))
    if prompt is not None:
        kit["question"] = prompt
    return kit


def _first(value: object) -> object:
    """Take the first leaf of lists in lists, or of the harness's {"gen_args_0": {"arg_0": …}}."""
    while isinstance(value, list | dict):
        if not value:
            return None
        value = value[0] if isinstance(value, list) else next(iter(value.values()))
    return value


def csv_rows(path: Path, data: bytes) -> Iterator[tuple[str, dict[str, object]]]:
    """Read a CSV file whose header names the kit's keys: id and score, or id, gold and answer.

    An empty score is an item that was not scored; an empty answer is one that could not be read.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise KitError(
            f"line {line} is not UTF-8",
            where=f"{path}:{line}",
            cause="a spreadsheet that saves in another encoding",
            fix="save it as UTF-8 CSV",
        ) from None
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    empty = True
    try:
        header = reader.fieldnames or []
        if "id" not in header:
            raise KitError(
                'the CSV file has no column "id"',
                where=f"{path}:1",
                cause=f"its first line reads {', '.join(map(str, header))}",
                fix="the first line names the columns: benchmark,id,score or id,gold,answer",
            )
        for raw in reader:
            where = f"{path}:{reader.line_num}"
            if None in raw or None in raw.values():
                raise KitError(
                    f"line {reader.line_num} has more or fewer fields than the header",
                    where=where,
                    cause="a cut-off line, or a comma in a text without quotes",
                    fix="write the file again",
                )
            empty = False
            yield where, _typed(raw, where)
    except csv.Error as error:
        where = f"{path}:{reader.line_num}"
        raise KitError(f"line {reader.line_num} is not valid CSV: {error}", where=where) from None
    if empty:
        raise KitError(
            "the CSV file has a header and no item",
            where=str(path),
            fix="give the file with a line for each item below its header",
        )


def _typed(raw: Mapping[str, str], where: str) -> dict[str, object]:
    row: dict[str, object] = {k: v for k, v in raw.items() if v != "" or k == "id"}
    for key, kind in (("score", float), ("repeat", int), ("seed", int)):
        if key in raw:
            try:
                row[key] = kind(raw[key]) if raw[key].strip() else (0 if key == "repeat" else None)
            except ValueError:
                raise KitError(
                    f"{key} is {raw[key]!r}, not a number",
                    where=where,
                    fix="a score is a number from 0 to 1; repeat and seed are whole numbers",
                ) from None
    if "answer" in raw and "gold" in raw:
        row["answer"] = raw["answer"].strip() or None
    return row
