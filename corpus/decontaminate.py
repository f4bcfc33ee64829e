"""Remove from training rows what stands in the benchmarks, exactly, in one pass.

`decontaminate(train, benchmarks, tokenizer, out, rule)` writes into `out`:

    train.jsonl             the kept rows, byte for byte as they came (parquet rows as JSON)
    reports/NAME.json       {conversation id: index of the benchmark prompt} of what was removed
    contamination.html      removed rows beside the prompts that they match
    summary.json            the rule, every count and train.jsonl's sha256; written last: without it
                            the folder is not a whole result

The rule is in corpus.rule, the index and its bound in corpus.ngrams, the exact check in
corpus.blocks, processes in corpus.stream.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from corpus import tokens
from corpus.compare import Checked, Match, Matcher, count_prompts
from corpus.contamination_page import SHOWN, Shown, render, show
from corpus.ngrams import firsts
from corpus.prompts import Benchmark
from corpus.rule import MIN_BLOCK, Rule
from corpus.stream import Chunk, check_all
from kit.errors import KitError
from kit.files import sha256_file, write_text, writing_bytes

OUTPUTS = ("summary.json", "train.jsonl", "contamination.html", "reports")


@dataclass
class _Seen:
    """What went by; only ids' hashes and what was removed stay in memory."""

    rows: int = 0
    textless: int = 0
    broken_text: int = 0
    digests: list[Any] = field(default_factory=list)
    removed: list[tuple[int, str, list[Match]]] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    by_file: list[Counter[str]] = field(default_factory=list)


def decontaminate(
    train: Sequence[Path],
    benchmarks: Sequence[Benchmark],
    tokenizer: Path,
    out: Path,
    rule: Rule,
    *,
    workers: int = 1,
    on_progress: Callable[[int, int, int], None] | None = None,
) -> dict[str, Any]:
    """Write the rows that no benchmark prompt contaminates, and what was removed and why.

    Args:
        train: .jsonl or .parquet files of rows in either shape.
        benchmarks: to hold them against; at least one.
        tokenizer: a folder with a tokenizer.json, or that file.
        out: a folder; made where it is missing. An older result in it is replaced.
        rule: what counts as contaminated.
        workers: processes that compare; 1: none but this one.
        on_progress: told (bytes read, rows, rows removed) after each chunk.

    Returns:
        What summary.json holds.

    Raises:
        KitError: wrong input, an unreadable row, a killed worker, or a full disk. Nothing is left
            that could be taken for a whole result.
    """
    _check_inputs(train, benchmarks, out)
    matcher = Matcher(rule, tokens.load(tokenizer), benchmarks)
    seen = _Seen(by_file=[Counter(rows=0, removed=0) for _ in train])
    digest = hashlib.sha256()
    with _space(out):
        out.mkdir(parents=True, exist_ok=True)
        for name in OUTPUTS:
            _remove(out / name)
        try:
            with writing_bytes(out / "train.jsonl", single=True) as file:
                done = 0
                for chunk, found in check_all(matcher, train, workers):
                    _take(chunk, found, train, matcher, seen, file, digest)
                    done += chunk.size
                    if on_progress:
                        on_progress(done, seen.rows, len(seen.removed))
                _refuse_empty(train, seen)
                summary = _summarise(matcher, train, tokenizer, seen, digest.hexdigest())
                _write_reports(out, matcher, seen, summary)
            _write(out / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
        except BaseException:
            for name in OUTPUTS:
                _remove(out / name)
            raise
    return summary


def _check_inputs(train: Sequence[Path], benchmarks: Sequence[Benchmark], out: Path) -> None:
    if not train:
        raise KitError("there is nothing to decontaminate", where="--train")
    if not benchmarks:
        raise KitError("there is no benchmark to hold the rows against", where="--prompts")
    for path in train:
        if not path.is_file():
            raise KitError("there is no such training file", where=str(path), fix="check --train")
        if path.suffix not in (".jsonl", ".parquet"):
            raise KitError(f"training files are .jsonl or .parquet, not {path.suffix!r}",
                           where=str(path))  # fmt: skip
        if path.resolve() == (out / "train.jsonl").resolve():
            raise KitError(
                "the output would replace the file that is read",
                where=str(path),
                fix="give another folder to --out",
            )
    for name, count in Counter(b.name for b in benchmarks).items():
        if count > 1:
            raise KitError(f"the benchmark {name} is given twice", where="--prompts")


def _take(
    chunk: Chunk,
    found: Checked,
    train: Sequence[Path],
    matcher: Matcher,
    seen: _Seen,
    file: BinaryIO,
    digest: Any,
) -> None:
    """Write a chunk's kept rows and note the others."""
    flagged = {number for number, _, _ in found.flagged}
    kept = b"".join(line for n, line in enumerate(chunk.lines) if n not in flagged)
    digest.update(kept)
    file.write(kept)
    for number, identity, matches in found.flagged:
        place = f"{train[chunk.file].name}:{chunk.numbers[number]}"
        seen.removed.append((seen.rows + number, identity or place, matches))
        if len(seen.shown) < SHOWN:
            raw = json.loads(chunk.lines[number])
            seen.shown.append(show(matcher, raw, seen.removed[-1][1], place, matches))
    seen.by_file[chunk.file]["rows"] += found.rows
    seen.by_file[chunk.file]["removed"] += len(flagged)
    seen.rows += found.rows
    seen.textless += found.textless
    seen.broken_text += found.broken_text
    seen.digests.append(found.ids)


def _refuse_empty(train: Sequence[Path], seen: _Seen) -> None:
    for path, counts in zip(train, seen.by_file, strict=True):
        if not counts["rows"]:
            raise KitError(
                "the training file is empty", where=str(path), cause="an interrupted copy"
            )


def _tell_apart(seen: _Seen) -> int:
    """Give every repeated id among the removed rows its number ("id#2"); gives how many repeat."""
    digests = np.concatenate(seen.digests)
    order = np.argsort(digests, kind="stable")
    ordered = digests[order]
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    for at, (row, identity, matches) in enumerate(seen.removed):
        if digests[row]:
            before = int(rank[row] - np.searchsorted(ordered, digests[row]))
            if before:
                seen.removed[at] = (row, f"{identity}#{before + 1}", matches)
    named = ordered[ordered != 0]
    return int(len(named) - np.count_nonzero(firsts(named)))


def _summarise(
    matcher: Matcher, train: Sequence[Path], tokenizer: Path, seen: _Seen, sha256: str
) -> dict[str, Any]:
    repeated = _tell_apart(seen)
    by_benchmark = Counter(match.benchmark for _, _, ms in seen.removed for match in ms)
    counts = count_prompts(matcher)
    return {
        "sha256": sha256,
        "rows": seen.rows,
        "kept": seen.rows - len(seen.removed),
        "removed": len(seen.removed),
        "rows_without_user_turn": seen.textless,
        "rows_with_broken_text": seen.broken_text,
        "repeated_ids": repeated,
        "tokenised": matcher.prefilter_why,
        "rule": {**asdict(matcher.rule), "least_block": MIN_BLOCK},
        "tokenizer": {"path": str(tokenizer), "sha256": sha256_file(tokens.find(tokenizer))},
        "train": [
            {"file": str(path), **counts}
            for path, counts in zip(train, seen.by_file, strict=True)
        ],
        "benchmarks": {
            benchmark.name: {
                "file": benchmark.source,
                **counts[number],
                "removed": by_benchmark[number],
            }
            for number, benchmark in enumerate(matcher.benchmarks)
        },
    }  # fmt: skip


def _write_reports(out: Path, matcher: Matcher, seen: _Seen, summary: Mapping[str, Any]) -> None:
    reports: list[dict[str, int]] = [{} for _ in matcher.benchmarks]
    for _, identity, matches in seen.removed:
        for match in matches:
            report, name = reports[match.benchmark], identity
            while name in report:  # two files' rows without ids, or an id that is called "a#2"
                name += "#"
            report[name] = match.prompt
    (out / "reports").mkdir()
    for benchmark, report in zip(matcher.benchmarks, reports, strict=True):
        text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
        _write(out / "reports" / f"{benchmark.name}.json", text)
    # The names of repeated ids are known only now.
    shown = [replace(one, id=name) for one, (_, name, _) in zip(seen.shown, seen.removed)]  # noqa: B905
    _write(out / "contamination.html", render(summary, shown))


def _write(path: Path, text: str) -> None:
    # Half surrogates may stand in ids; a page or report shows them as question marks.
    write_text(path, text, errors="replace")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _space(out: Path) -> Iterator[None]:
    """Say what a failed write means."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise KitError(
            "the disk is full" if full else f"the output cannot be written: {error.strerror}",
            where=str(out),
            cause="the kept rows need about as much room as the training files; nothing was left"
            if full
            else "no permission, or a read-only file system",
            fix="make room, or give a folder on another disk to --out",
            exit_code=1 if full else 2,
        ) from None
