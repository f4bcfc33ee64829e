"""Rows as raw lines, a chunk at a time, checked here or in worker processes, in order.

Memory does not grow with the corpus: at any time there are a few chunks of a MiB in flight.
"""

from __future__ import annotations

import ctypes
import gc
import json
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from corpus.compare import Checked, Matcher
from corpus.sources import Source, read
from kit.errors import KitError
from kit.files import os_errors
from kit.process import die_with_parent

#: A chunk ends at whichever comes first.
CHUNK_ROWS = 1024
CHUNK_BYTES = 2**18
#: Chunks that each worker may have waiting for it or for its turn to be written.
AHEAD = 2


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of one file.

    Attributes:
        file: number of the file.
        lines: raw, as they are written again, blank ones left out.
        numbers: line number (in parquet: row number) of each.
        size: bytes read for them, blank ones included.
    """

    file: int
    lines: list[bytes]
    numbers: list[int]
    size: int


def chunks(files: Sequence[Path]) -> Iterator[Chunk]:
    """Read files of rows, in order.

    Args:
        files: .jsonl, or .parquet, whose rows become JSON lines.

    Raises:
        KitError: a file that cannot be read, or a parquet file that is not whole.
    """
    for number, path in enumerate(files):
        lines: list[bytes] = []
        numbers: list[int] = []
        size = 0
        for place, line in _parquet(path) if path.suffix == ".parquet" else _lines(path):
            size += len(line)
            if line.strip():
                lines.append(line if line.endswith(b"\n") else line + b"\n")
                numbers.append(place)
            if size >= CHUNK_BYTES or len(lines) >= CHUNK_ROWS:
                yield Chunk(number, lines, numbers, size)
                lines, numbers, size = [], [], 0
        if size:
            yield Chunk(number, lines, numbers, size)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with (
        os_errors("the training file cannot be read", path, fix="check --train"),
        path.open("rb") as file,
    ):
        yield from enumerate(file, 1)


def _parquet(path: Path) -> Iterator[tuple[int, bytes]]:
    for number, (_, row) in enumerate(read(Source(path.stem, (path,))), 1):
        yield number, json.dumps(row, ensure_ascii=False, default=str).encode() + b"\n"


def check_all(
    matcher: Matcher, files: Sequence[Path], workers: int
) -> Iterator[tuple[Chunk, Checked]]:
    """Give each chunk with what was found in it, in the order of the files.

    Args:
        matcher: what to hold the rows against.
        files: of rows.
        workers: processes; with 1 everything happens here.

    Raises:
        KitError: an unreadable row, or a worker that was killed.
    """
    if workers == 1:
        for chunk in chunks(files):
            yield chunk, _whole(matcher.check(chunk.lines), chunk, files)
        return
    # Forked where that works: the index and the tokenizer are then shared, not copied.
    method = "fork" if sys.platform == "linux" else "spawn"
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context(method), _begin, (matcher, os.getpid())
    )
    waiting: deque[tuple[Chunk, Future[Checked]]] = deque()
    try:
        with _about_to_fork():  # the pool forks all of its workers at the first submit
            for chunk in chunks(files):
                waiting.append((chunk, pool.submit(_check, chunk.lines)))
                if len(waiting) >= workers * AHEAD:
                    first, result = waiting.popleft()
                    yield first, _whole(result.result(), first, files)
        while waiting:
            first, result = waiting.popleft()
            yield first, _whole(result.result(), first, files)
    except BrokenProcessPool:
        raise KitError(
            "a worker process was killed",
            where="decontamination",
            cause="most likely out of memory; nothing was written",
            fix="run again with fewer --workers",
            exit_code=1,
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _about_to_fork() -> Iterator[None]:
    """Fork within this: what is there by now stays shared with the children.

    Their garbage collector would otherwise write to every object, and so copy its page.
    """
    gc.collect()
    with suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _whole(found: Checked, chunk: Chunk, files: Sequence[Path]) -> Checked:
    if found.error is not None:
        at, what = found.error
        raise KitError(
            f"a row cannot be read: {what}",
            where=f"{files[chunk.file]}:{chunk.numbers[at]}",
            cause="an interrupted copy, another encoding or an edit by hand; nothing was written",
            fix="mend or remove the line, or copy the file again",
        )
    return found


_matcher: Matcher | None = None


def _begin(matcher: Matcher, parent: int) -> None:
    """Make a worker ready: it is stopped by its parent, never by itself."""
    global _matcher
    _matcher = matcher
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The workers are the parallelism; and threads of a forked tokenizer would never wake up.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    die_with_parent(parent)


def _check(lines: list[bytes]) -> Checked:
    if _matcher is None:
        raise RuntimeError("the worker was not made ready")
    return _matcher.check(lines)


#: Less than this is done before a second process would have begun.
SMALL = 2 * 2**20


def choose_workers(size: int) -> tuple[int, str]:
    """Give the number of processes for so many bytes of rows, and why."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if size < SMALL:
        return 1, "the files are small"
    return cores or 1, "one for each core that this process may use"
