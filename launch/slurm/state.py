"""What a run is doing, read from disk."""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.files import read_json, tail_jsonl

if TYPE_CHECKING:
    from launch.run.folder import Run
    from launch.slurm.commands import Job


#: Bytes of progress.jsonl that hold its last twenty steps and more.
TAIL = 1 << 14
#: Axolotl's name for the tokens that carry a label, a second and a rank.
SPEED = "tokens/train_per_sec_per_gpu"


@dataclass(frozen=True)
class Training:
    """Where training is; None for what is not known yet.

    Attributes:
        step, of: the last step that was logged, of so many.
        loss: of that step.
        left_s: seconds left at the pace of the last steps.
        tokens_s: tokens a second that count for the loss, over all ranks.
        next_save: step of the next checkpoint.
    """

    step: int
    of: int | None
    loss: float | None
    left_s: float | None
    tokens_s: float | None = None
    next_save: int | None = None

    def words(self) -> str:
        """Give it as one phrase."""
        out = f"step {self.step}/{self.of or '?'}"
        if self.loss is not None:
            out += f", loss {self.loss:.4g}"
        if self.tokens_s:
            out += f", {self.tokens_s:,.0f} trainable tokens/s"
        if self.left_s:
            out += f", {self.left_s / 60:.0f} min left" if self.left_s > 90 else (
                f", {self.left_s:.0f} s left"
            )  # fmt: skip
        return out


def training(run: Run) -> Training | None:
    """Read the training stage's progress; None before its first step."""
    file = run.folder("train") / "progress.jsonl"
    rows = [r for r in tail_jsonl(file, last_bytes=TAIL) if "step" in r]
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
    speeds = [r[SPEED] for r in recent if isinstance(r.get(SPEED), (int, float))]
    speed = statistics.mean(speeds) * run.site.world_size if speeds else None
    return Training(last["step"], last.get("of"), losses[-1] if losses else None, left, speed,
                    _next_save(run, last["step"], last.get("of")))  # fmt: skip


def _next_save(run: Run, step: int, of: int | None) -> int | None:
    """The recipe's interval or the one that the time limit asks for, whichever comes first."""
    if step == of:
        return None
    every = run.recipe.table("train").get("save_steps")
    at = [(step // every + 1) * every] if isinstance(every, int) and every > 0 else []
    measured = (read_json(run.folder("train") / "pace.json") or {}).get("next_step")
    if isinstance(measured, int) and measured > step:
        at.append(measured)
    if not at:
        return None
    return min(*at, of) if of else min(at)


def overview(run: Run, known: dict[str, Job] | None = None) -> dict[str, Any]:
    """Give one run's state: every stage's, the training's progress, the verdict.

    Args:
        known: what Slurm says of its jobs; None where it was not asked or did not answer.
    """
    joined = {name: run.status(name) for name in run.stages}
    if run.site.scheduler == "slurm":
        from launch.slurm import jobs

        joined = jobs.stages(run, known)
    stages = {name: one["state"] for name, one in joined.items()}
    verdict = read_json(run.verdict) if stages.get("judge") == "finished" else None
    at = training(run) if "train" in stages else None
    return {
        "run": run.name,
        "path": str(run.path),
        "recipe": run.recipe.name,
        "site": run.site.name,
        "created": run.spec.get("created"),
        "stages": stages,
        "details": joined,
        "state": _overall(stages),
        "training": None if at is None else vars(at),
        "verdict": verdict["verdict"] if verdict else None,
    }


def _overall(stages: dict[str, str]) -> str:
    for state in ("failed", "running", "interrupted", "requeued", "queued"):
        if state in stages.values():
            return state
    return "finished" if set(stages.values()) == {"finished"} else "waiting"


def every(runs: Path) -> list[tuple[Path, dict[str, Any] | None]]:
    """Give (folder, overview) for each run, the newest first; None for a folder not readable.

    Slurm is asked at most once for all of them, and not at all where no job can be alive.
    """
    from kit.errors import KitError

    found: list[tuple[Path, Run | None]] = []
    folders = sorted(runs.glob("*/run.toml"), key=lambda p: p.stat().st_mtime, reverse=True)
    for file in folders:
        try:
            found.append((file.parent, _open(file)))
        except (KitError, KeyError):
            found.append((file.parent, None))
    known = ask([run for _, run in found if run is not None])
    out: list[tuple[Path, dict[str, Any] | None]] = []
    for path, run in found:
        try:
            out.append((path, overview(run, known) if run is not None else None))
        except (KeyError, TypeError):  # run.toml of another version
            out.append((path, None))
    return out


def _open(file: Path) -> Run:
    """Open a run for a listing: parsing 200 TOML files takes half a second, so JSON is kept."""
    from launch.run.folder import Run, open_run

    stat, kept = file.stat(), file.with_name(".run.json")
    of = [stat.st_mtime_ns, stat.st_size]
    known = read_json(kept)
    if known is not None and known.get("of") == of:
        return Run(file.parent, known["spec"])
    run = open_run(file.parent)
    with contextlib.suppress(OSError, TypeError):  # somebody else's run, or a full disk
        kept.write_text(json.dumps({"of": of, "spec": run.spec}), encoding="utf-8")
    return run


def ask(runs: list[Run], *, history: bool = False) -> dict[str, Job] | None:
    """Ask Slurm once for the jobs of these runs; None where it gives no answer."""
    from launch.slurm import commands as slurm
    from launch.slurm import jobs

    numbers = [n for run in runs if is_slurm(run) for n in jobs.numbers(run)]
    try:
        return slurm.ask(numbers, history=history)
    except slurm.SlurmSilentError:
        return None


def is_slurm(run: Run) -> bool:
    """Whether a run's stages are Slurm jobs."""
    return bool(run.spec.get("site", {}).get("scheduler") == "slurm")


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
