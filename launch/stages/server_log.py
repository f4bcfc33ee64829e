"""What a model server's log says of its end: the first cause, not the last lines.

vLLM starts processes that start processes: the engine's own error stands dozens of lines above the
end of the log, which only says that the engine failed.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from kit.errors import KitError

#: An exception's line in a traceback, or what argparse prints; vLLM puts its own words before it.
_RAISED = re.compile(
    r"(?:^|[\s\]])((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt))(?::\s*(.*))?$"
)
_REFUSED = re.compile(r"^\S+: error: (.*)$")
#: Said by the outer processes of an engine that failed inside; a process that only looks at a
#: model's class is one as well.
_ECHO = ("see root cause", "engine core initialization failed", "enginedeaderror",
         "workerproc initialization failed", "calledprocesserror", "error raised in subprocess",
         "failed to be inspected")  # fmt: skip
#: What the first cause names, and what to do about it.
_HINTS = (
    (r"unrecognized arguments|invalid choice|expected one argument",
     "this vLLM does not know an option that the kit gives it: install the pinned version"),
    (r"KV cache|kv_cache|less than desired|[Oo]ut of memory|OutOfMemory|Cannot allocate memory",
     "too little memory is left for the cache of keys and values: a smaller window (--set "
     "judge.max_length=N, eval.max_length=N), more GPUs, or on a CPU VLLM_CPU_KVCACHE_SPACE=GIB"),
    (r"ModuleNotFoundError|ImportError|cannot import name",
     "the packages do not fit each other: make serve-cpu, or the eval image, has those that do"),
    (r"[Aa]ddress already in use", "another program took the port; mfo resume RUN takes another"),
    (r"safetensors|SafetensorError|config\.json|tokenizer",
     "check that the folder holds config, tokenizer and whole safetensors files"),
)  # fmt: skip
#: The port was free when it was looked for: worth another start.
TAKEN = re.compile(r"[Aa]ddress already in use")


#: Of a log are read: bytes of its beginning, and as many of its end.
_MOST = 1 << 20


def since(log: Path, begun: int) -> list[str]:
    """Give the lines of a log from a place on, at most the first and the last megabyte."""
    try:
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(begun)
            data = file.read(_MOST)
            if end > file.tell():
                file.seek(max(file.tell(), end - _MOST))
                data += file.read(_MOST)
    except OSError:
        return []
    return data.decode(errors="replace").splitlines()


@contextlib.contextmanager
def explained(log: Path) -> Iterator[None]:
    """Put an engine's own first error in the place of the outer process's echo of it.

    Args:
        log: receives what the engine's processes print.

    Raises:
        KitError: what was raised inside, with a cause out of the log where it named none itself.
    """
    begun = log.stat().st_size if log.is_file() else 0
    try:
        yield
    except KitError as error:
        echo = any(word in error.cause.lower() for word in _ECHO)
        if not echo or not (first := first_cause(since(log, begun))):
            raise
        fix = hint(first) or error.fix
        raise KitError(error.what, where=f"{error.where}; {log}", cause=first, fix=fix) from error


def first_cause(lines: Iterable[str]) -> str:
    """Give the line of the first error that a log tells; "" where it tells none.

    Args:
        lines: of the log of one start.
    """
    for line in lines:
        text = line.strip()
        found = _REFUSED.search(text) or _RAISED.search(text)
        if found and not any(echo in text.lower() for echo in _ECHO):
            return (found.group(1) if found.re is _REFUSED else _said(found))[:400]
    return ""


def _said(found: re.Match[str]) -> str:
    name, words = found.group(1), (found.group(2) or "").strip()
    return f"{name}: {words}" if words else name


def hint(cause: str) -> str:
    """Give what to do about a first cause; "" where nothing is known."""
    return next((words for pattern, words in _HINTS if re.search(pattern, cause)), "")
