"""The Axolotl plugin that is always on: clean death, progress, and whole checkpoints.

Use: `plugins: [launch.stages.axolotl_watch.WatchPlugin]` with the kit's folder on PYTHONPATH.
Environment: MFO_PROGRESS_DIR, the folder that receives `progress.jsonl`; without it none is kept.
MFO_STOP_FILE: while it is there, training saves at the end of its step and stops, and says so in
MFO_STOPPED_FILE. Only Slurm jobs set these two, and MFO_LIMIT_S, their time limit in seconds, from
which the checkpoints' interval is chosen (pace.py; what was chosen stands in `pace.json`).
MFO_ENVELOPE: the recipe's [envelope] as JSON; a loss that leaves it ends training (envelope.py).

progress.jsonl: one line for each logged step, from rank 0, appended: {"step", "of", "time",
"epoch", "loss", "grad_norm", "learning_rate", ...} with whatever else the trainer logs (tokens per
second, memory) under the trainer's own names. After a resume the steps since the last checkpoint
come a second time: the last line of a step counts.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from axolotl.integrations.base import BasePlugin

from kit import process
from kit.errors import KitError
from kit.files import tail_jsonl, write_json
from launch.run import pace
from launch.stages import checkpoints, envelope

PROGRESS_DIR = "MFO_PROGRESS_DIR"
STOP_FILE = "MFO_STOP_FILE"
STOPPED_FILE = "MFO_STOPPED_FILE"
_POLL_SECONDS = 1.0


class WatchPlugin(BasePlugin):  # type: ignore[misc]
    """Ends workers with their launcher, reports progress, and marks finished checkpoints."""

    def register(self, cfg: dict[str, Any]) -> None:  # noqa: ARG002 - the hook's signature
        """Tie this worker's life to its launcher's, from the moment the file is loaded."""
        end_with_torchrun()

    def add_callbacks_post_trainer(self, cfg: dict[str, Any], trainer: Any) -> list[Any]:  # noqa: ARG002
        """Give the callback; it runs after Axolotl's own, so it sees their files as well."""
        return [_make_callback()]


def end_with_torchrun() -> None:
    """End this process when torchrun dies, also when torchrun had no chance to say so.

    torchrun starts its workers in sessions of their own: `kill -9` of torchrun, or of its process
    group, leaves them training on, holding the port, the GPUs and the run folder. On Linux the
    kernel sends SIGKILL; the thread serves other systems, and a parent thread that outlives its
    process. Does nothing outside torchrun, where a parent may rightly leave (nohup, disown).
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    parent = os.getppid()
    process.die_with_parent()
    if _is_orphan(parent):
        os._exit(1)
    kill = partial(os.kill, os.getpid(), signal.SIGKILL)
    process.when_gone(parent, kill, every_s=_POLL_SECONDS)


def _is_orphan(parent: int) -> bool:
    """Say whether the launcher died before we looked (a worker imports for some seconds first)."""
    if parent != 1:
        return False
    try:
        # In a container torchrun may be process 1 itself.
        return b"torch" not in Path("/proc/1/cmdline").read_bytes()
    except OSError:
        return True


def _make_callback() -> Any:
    """Build the callback; inside a function, since importing transformers costs seconds."""
    from transformers import TrainerCallback

    class WatchCallback(TrainerCallback):  # type: ignore[misc]
        """Rank 0 appends each log to progress.jsonl; all ranks together mark a checkpoint whole."""

        def __init__(self) -> None:
            self.guard = guard()
            limit = float(os.environ.get(pace.VARIABLE) or 0)
            self.pace = pace.Pace(limit) if limit > 0 else None
            self.stopping = False

        def on_log(self, _args: Any, state: Any, _control: Any, logs: Any = None, **_: Any) -> None:
            folder = os.environ.get(PROGRESS_DIR)
            if folder and state.is_world_process_zero and logs:
                _append(Path(folder) / "progress.jsonl", _entry(state, logs))
            stop_if_lost(state.global_step, logs or {})
            stop_if_outside(self.guard, state.global_step, logs or {})

        def on_save(self, args: Any, state: Any, _control: Any, **_: Any) -> None:
            # transformers 5.16.1, trainer.py _maybe_log_save_evaluate: on_save comes after
            # _save_checkpoint has returned on this rank, that is after the model's and the
            # optimiser's shards, scheduler.pt, rng_state_R.pth and trainer_state.json. The other
            # ranks may still be writing theirs: `seal` waits for them.
            seal(Path(args.output_dir) / f"checkpoint-{state.global_step}", state.global_step)
            if self.stopping:
                leave(state.global_step)
            if self.pace:
                self.pace.saved(time.monotonic())
                if state.is_world_process_zero:
                    tell_pace(self.pace, state.global_step)

        def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> Any:
            due = self.pace.step(time.monotonic()) if self.pace else False
            # After the last step Axolotl ends by itself, and there is nothing to come back for.
            if state.global_step < state.max_steps:
                self.stopping, save = ask_rank_0(due)
                control.should_save = control.should_save or self.stopping or save
            return control

    return WatchCallback()


def stop_if_lost(step: int, logs: dict[str, Any]) -> None:
    """End training whose numbers are none any more, before more node-hours are spent.

    transformers replaces a loss that is no number by the mean of those before it
    (logging_nan_inf_filter), so the gradient's norm is looked at as well. Every rank logs the same
    values, so every rank comes to the same decision.

    Raises:
        KitError: loss or gradient norm is not finite.
    """
    for name in ("loss", "grad_norm"):
        value = logs.get(name)
        if isinstance(value, (int, float)) and not math.isfinite(value):
            raise KitError(
                f"NaN detected: {name} is {value} at step {step}",
                where="training",
                cause="a learning rate that is too high, or a bad row; the weights are spoilt",
                fix="a lower train.learning_rate, then mfo run again: the last checkpoint may "
                "hold spoilt weights too",
            )


def guard() -> envelope.Guard | None:
    """Give what the loss is held against; None where the recipe has no envelope."""
    text = os.environ.get(envelope.VARIABLE)
    if not text:
        return None
    folder = os.environ.get(PROGRESS_DIR)
    rows = tail_jsonl(Path(folder) / "progress.jsonl") if folder else []
    before = {r["step"]: r["loss"] for r in rows if isinstance(r.get("loss"), float)}
    return envelope.Guard(envelope.parse(json.loads(text)), sorted(before.items()))


def stop_if_outside(guard: envelope.Guard | None, step: int, logs: dict[str, Any]) -> None:
    """End training whose loss has left the recipe's envelope.

    Raises:
        KitError: it has.
    """
    loss = logs.get("loss")
    if guard is None or not isinstance(loss, (int, float)):
        return
    words = guard.outside(step, float(loss))
    if words:
        raise KitError(
            f"the loss left the recipe's envelope at step {step}: {words}",
            where="training",
            cause="a learning rate that is too high, other rows, turns or tokenizer than the "
            "recipe's, or a broken kernel; or an envelope that is too narrow for this run",
            fix="look at the curve (mfo report), then a lower train.learning_rate, or a wider "
            "envelope: --set envelope.rise=…, --set envelope.bands= (none)",
        )


def tell_pace(measured: pace.Pace, step: int) -> None:
    """Write down, for `mfo status` and for the log, when the next checkpoint is due."""
    folder = os.environ.get(PROGRESS_DIR)
    if not (folder and measured.step_s):
        return
    print(measured.words(), flush=True)
    write_json(Path(folder) / "pace.json", {
        "step": step, "step_s": measured.step_s, "save_s": measured.save_s,
        "every_s": measured.every_s, "next_step": step + measured.steps(),
    })  # fmt: skip


def ask_rank_0(due: bool) -> tuple[bool, bool]:
    """Give (stop, save) as rank 0 sees them. Call it on all ranks: all get one answer.

    Rank 0 looks for the file that MFO_STOP_FILE names (see launch.run.attempt) and at its own
    clock; if each rank looked for itself, some would save a step later than others and wait there
    for ever.

    Args:
        due: whether this rank's clock says that a checkpoint is due.
    """
    import torch.distributed as dist

    file = os.environ.get(STOP_FILE)
    if not file:
        return False, False
    mine = (Path(file).exists(), due)
    if not (dist.is_available() and dist.is_initialized()):
        return mine
    answer: list[Any] = [mine if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(answer, src=0)
    return bool(answer[0][0]), bool(answer[0][1])


def leave(step: int) -> None:
    """End this worker, the checkpoint being whole. Call it on all ranks.

    Not by should_training_stop: Axolotl would then write the unfinished model as its result, which
    for a large one takes longer than the seconds that are left.
    """
    import torch.distributed as dist

    together = dist.is_available() and dist.is_initialized()
    if not together or dist.get_rank() == 0:
        _finish_tracking()
        Path(os.environ[STOPPED_FILE]).write_text(json.dumps({"step": step}), encoding="utf-8")
        print(f"stop: saved at step {step}, as asked", flush=True)
    if together:
        dist.barrier()
    sys.stdout.flush()
    os._exit(0)


def _finish_tracking() -> None:
    """Let W&B write what it holds; the next attempt goes on with the same run."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and getattr(wandb, "run", None) is not None:
        try:
            wandb.finish()
        except Exception as error:  # noqa: BLE001 - a tracker must not cost a checkpoint
            print(f"W&B: not finished ({error})", flush=True)


def seal(checkpoint: Path, step: int) -> None:
    """Mark a checkpoint whole once every rank has written its part. Call it on all ranks.

    Each rank hashes its share of the files (a 27B model's checkpoint is some 160 GB), rank 0
    writes the list.
    """
    import torch.distributed as dist

    rank, world = 0, 1
    if dist.is_available() and dist.is_initialized():
        rank, world = dist.get_rank(), dist.get_world_size()
        dist.barrier()
    names: list[Any] = [checkpoints.list_files(checkpoint) if rank == 0 else None]
    if world > 1:
        # One rank's view of the folder decides; a shared file system may show another one later.
        dist.broadcast_object_list(names, src=0)
    mine = checkpoints.describe(checkpoint, names[0][rank::world])
    parts: list[Any] = [mine]
    if world > 1:
        parts = [None] * world
        dist.all_gather_object(parts, mine)
    if rank == 0:
        checkpoints.mark_whole(checkpoint, step, {k: v for part in parts for k, v in part.items()})


def _entry(state: Any, logs: dict[str, Any]) -> dict[str, Any]:
    numbers = {k: v for k, v in logs.items() if isinstance(v, (int, float)) and math.isfinite(v)}
    odd = {k: str(v) for k, v in logs.items() if k not in numbers}
    head = {"step": state.global_step, "of": state.max_steps, "time": round(time.time(), 3)}
    return {**head, "epoch": state.epoch, **numbers, **odd}


def _append(path: Path, entry: dict[str, Any]) -> None:
    """Append one line with a single write, so that a reader or a kill never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(entry).encode() + b"\n"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, line)
    finally:
        os.close(handle)
