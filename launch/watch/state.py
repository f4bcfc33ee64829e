"""What a run is doing, read from disk."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch.files import read_json, read_jsonl

if TYPE_CHECKING:
    from launch.run import Run


@dataclass(frozen=True)
class Training:
    """Where training is: step of so many, last loss, seconds left (None while unknown)."""

    step: int
    of: int | None
    loss: float | None
    left_s: float | None

    def words(self) -> str:
        """Give it as one phrase."""
        out = f"step {self.step}/{self.of or '?'}"
        if self.loss is not None:
            out += f", loss {self.loss:.4g}"
        if self.left_s:
            out += f", {self.left_s / 60:.0f} min left" if self.left_s > 90 else (
                f", {self.left_s:.0f} s left"
            )  # fmt: skip
        return out


def training(run: Run) -> Training | None:
    """Read the training stage's progress; None before its first step."""
    rows = [r for r in read_jsonl(run.folder("train") / "progress.jsonl") if "step" in r]
    if not rows:
        return None
    last = rows[-1]
    losses = [r["loss"] for r in rows if r.get("loss") is not None]
    # The pace of the last steps of this sitting: a resume leaves a gap in time, not in steps.
    recent = rows[-20:]
    left = None
    span = recent[-1].get("time", 0) - recent[0].get("time", 0)
    steps = recent[-1]["step"] - recent[0]["step"]
    if steps > 0 and span > 0 and last.get("of"):
        left = (last["of"] - last["step"]) * span / steps
    return Training(last["step"], last.get("of"), losses[-1] if losses else None, left)


def overview(run: Run) -> dict[str, Any]:
    """Give one run's state: every stage's, the training's progress, the verdict."""
    stages = {name: run.status(name)["state"] for name in run.stages}
    verdict = read_json(run.verdict) if stages.get("judge") == "finished" else None
    at = training(run) if "train" in stages else None
    return {
        "run": run.name,
        "path": str(run.path),
        "recipe": run.recipe.name,
        "site": run.site.name,
        "created": run.spec.get("created"),
        "stages": stages,
        "state": _overall(stages),
        "training": None if at is None else {"step": at.step, "of": at.of, "loss": at.loss},
        "verdict": verdict["verdict"] if verdict else None,
    }


def _overall(stages: dict[str, str]) -> str:
    for state in ("failed", "running", "interrupted"):
        if state in stages.values():
            return state
    return "finished" if set(stages.values()) == {"finished"} else "waiting"


def every(runs: Path) -> list[tuple[Path, dict[str, Any] | None]]:
    """Give (folder, overview) for each run, the newest first; None for a folder not readable."""
    from launch.errors import KitError
    from launch.run import open_run

    out: list[tuple[Path, dict[str, Any] | None]] = []
    folders = sorted(runs.glob("*/run.toml"), key=lambda p: p.stat().st_mtime, reverse=True)
    for file in folders:
        try:
            out.append((file.parent, overview(open_run(file.parent))))
        except (KitError, KeyError):
            out.append((file.parent, None))
    return out


def follow(path: Path, ended: Any) -> Any:
    """Give a file's text as it grows, until `ended()` says that nothing more will come."""
    position = 0
    while True:
        over = ended()
        try:
            with path.open("rb") as file:
                file.seek(position)
                chunk = file.read()
                position += len(chunk)
        except OSError:
            chunk = b""
        if chunk:
            yield chunk.decode(errors="replace")
        elif over:
            return
        time.sleep(0.3)
