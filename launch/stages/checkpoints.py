"""Tell a whole checkpoint from one that was cut in half. Standard library only.

A checkpoint is whole when the list in it, `whole.json`, names every file with its size and sha256
and each file agrees. The training plugin (axolotl_watch.py) writes that list after every rank has
finished writing, so a folder without it was left by a run that died while saving.

whole.json: {"step": N, "files": {"relative/path": {"size": bytes, "sha256": hex}}}
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kit.files import sha256_file, write_json

WHOLE = "whole.json"
_NAME = re.compile(r"checkpoint-(\d+)")
# hashlib lets go of the interpreter lock, so threads share the reading of a large checkpoint.
_THREADS = 8


@dataclass(frozen=True)
class Broken:
    """A checkpoint that was set aside: where it was, where it is now, and why."""

    path: Path
    moved_to: Path
    reason: str


def list_files(checkpoint: Path) -> list[str]:
    """Give every file of a checkpoint, relative and sorted, without `whole.json` itself."""
    found = (p.relative_to(checkpoint).as_posix() for p in checkpoint.rglob("*") if p.is_file())
    return sorted(name for name in found if not name.startswith(WHOLE))


def describe(checkpoint: Path, names: Iterable[str]) -> dict[str, dict[str, int | str]]:
    """Give the size in bytes and the sha256 of each named file of a checkpoint."""
    return {
        name: {"size": (checkpoint / name).stat().st_size, "sha256": sha256_file(checkpoint / name)}
        for name in names
    }


def mark_whole(checkpoint: Path, step: int, files: dict[str, dict[str, int | str]]) -> None:
    """Write `whole.json` in one move. Call it only after every file is complete."""
    listed = {"step": step, "files": dict(sorted(files.items()))}
    write_json(checkpoint / WHOLE, listed)


def is_whole(path: Path) -> str | None:
    """Say why a checkpoint cannot be used, in words; None when it is whole.

    Reads every byte of it: a size alone does not notice a page that never reached the disk.
    """
    if not path.is_dir():
        return "there is no such folder"
    try:
        listed = json.loads((path / WHOLE).read_text(encoding="utf-8"))["files"]
        expected = {str(k): (int(v["size"]), str(v["sha256"])) for k, v in listed.items()}
    except FileNotFoundError:
        return f"{WHOLE} is missing: the run ended while this checkpoint was being written"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{WHOLE} cannot be read"
    if not expected:
        return f"{WHOLE} names no file"
    with ThreadPoolExecutor(_THREADS) as pool:
        reasons = pool.map(lambda item: _check_file(path, item[0], *item[1]), expected.items())
        return next((reason for reason in reasons if reason), None)


def _check_file(checkpoint: Path, name: str, size: int, digest: str) -> str | None:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        return f"{WHOLE} names a file outside the checkpoint: {name}"
    file = checkpoint / relative
    try:
        found = file.stat().st_size
        if found != size:
            return f"{name} has {found:,} bytes, not {size:,}: it was cut short or changed"
        if sha256_file(file) != digest:
            return f"{name} has the right size but other contents than when it was saved"
    except FileNotFoundError:
        return f"{name} is missing"
    except OSError as error:
        return f"{name} cannot be read: {error.strerror}"
    return None


def list_checkpoints(output_dir: Path) -> list[Path]:
    """Give the folders `checkpoint-N` of a training output, the latest step last."""
    if not output_dir.is_dir():
        return []
    found = [(m, p) for p in output_dir.iterdir() if (m := _NAME.fullmatch(p.name)) and p.is_dir()]
    return [path for _, path in sorted(found, key=lambda pair: int(pair[0].group(1)))]


def last_whole(output_dir: Path) -> Path | None:
    """Give the latest checkpoint that is whole, or None."""
    for path in reversed(list_checkpoints(output_dir)):
        if is_whole(path) is None:
            return path
    return None


def set_aside_broken(output_dir: Path) -> list[Broken]:
    """Rename each broken `checkpoint-N` to `broken-checkpoint-N-K`, so that nobody resumes from it.

    Axolotl's auto_resume_from_checkpoints takes the highest N of the folders named `checkpoint-N`
    and fails inside torch when its files are cut; with the broken ones out of the way it takes the
    last whole one. Nothing is deleted.

    Returns:
        What was renamed, the lowest step first; empty when every checkpoint is whole.
    """
    moved = []
    for path in list_checkpoints(output_dir):
        reason = is_whole(path)
        if reason is None:
            continue
        turn = 1
        while (target := output_dir / f"broken-{path.name}-{turn}").exists():
            turn += 1
        path.rename(target)
        moved.append(Broken(path, target, reason))
    return moved
