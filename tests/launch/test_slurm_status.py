"""What is said of a run on Slurm: the disk and Slurm together, without a Slurm."""

import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kit.errors import KitError
from kit.files import write_json
from launch.run.folder import Run, held
from launch.slurm import commands as slurm
from launch.slurm import jobs, state

NewRun = Callable[..., Run]
SQUEUE = """\
12|RUNNING|None|2|8|nid[001-008]|1:02:03|10:57:57|2026-05-01T10:00:00|
13|PENDING|Dependency|0|1||0:00|12:00:00|N/A|
14|PENDING|DependencyNeverSatisfied|0|1||0:00|30:00|N/A|
15_3|CANCELLED|None|0|1||0:00|30:00|N/A|
garbage
"""


def test_squeue_is_read() -> None:
    found = slurm.read_squeue(SQUEUE)
    assert set(found) == {"12", "13", "14", "15_3"}
    assert (found["12"].restarts, found["12"].nodes, found["12"].where) == (2, 8, "nid[001-008]")
    assert found["13"].alive and not found["13"].never
    assert found["14"].never
    assert not found["15_3"].alive


def test_of_a_requeued_jobs_lines_in_sacct_the_last_counts() -> None:
    text = "7|NODE_FAIL|2|n[1-2]|00:01:00\n7|COMPLETED|2|n[3-4]|00:09:00\n7.batch|COMPLETED|1|n3|00:09:00\n8|CANCELLED by 0|1|n1|00:00:01\n"  # noqa: E501
    found = slurm.read_sacct(text)
    assert (found["7"].state, found["7"].restarts) == ("COMPLETED", 1)
    assert found["8"].state == "CANCELLED"


def job(state: str, reason: str = "None", restarts: int = 0) -> slurm.Job:
    return slurm.Job("5", state, reason, restarts, where="n1")


@pytest.mark.parametrize(
    ("disk", "said", "expected"),
    [
        # What is whole on disk is finished, whatever became of its job.
        ("finished", job("FAILED"), "finished"),
        # A node was lost and Slurm started the job again: the status file is the dead attempt's.
        ("running", job("PENDING", "BeginTime", 1), "queued"),
        ("running", job("RUNNING", restarts=1), "running"),
        # Killed without a chance to write anything.
        ("running", job("TIMEOUT"), "failed"),
        ("running", job("OUT_OF_MEMORY"), "failed"),
        ("running", job("CANCELLED"), "interrupted"),
        ("queued", job("PENDING", "Priority"), "queued"),
        ("queued", job("PENDING", "DependencyNeverSatisfied"), "interrupted"),
        ("running", job("COMPLETED"), "interrupted"),
        ("failed", job("FAILED"), "failed"),
        ("requeued", job("COMPLETING"), "running"),
        # Slurm has forgotten the job, so it does not run.
        ("running", None, "interrupted"),
    ],
)
def test_disk_and_slurm_together(disk: str, said: slurm.Job | None, expected: str) -> None:
    joined = jobs.stage_state({"state": disk, "job": "5"}, said, asked=True)
    assert joined["state"] == expected


def test_when_slurm_is_silent_the_disk_decides() -> None:
    joined = jobs.stage_state({"state": "running", "job": "5"}, None, asked=False)
    assert joined["state"] == "running"


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for squeue that counts how often it is asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    count = tmp_path / "asked"
    script = folder / "squeue"
    script.write_text(
        f"#!/bin/sh\necho x >> {count}\nprintf '12|RUNNING|None|0|2|n[1-2]|1:00|9:00|N/A|\\n'\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return count


def test_200_runs_within_a_second_and_one_question(
    slurm_run: NewRun, asked: Path, tmp_path: Path
) -> None:
    first = slurm_run(stages=("corpus", "train", "evaluate", "judge"))
    spec = (first.path / "run.toml").read_text()
    progress = '{"step": 1, "of": 240, "time": 1.0, "loss": 2.0}\n' * 240
    for number in range(200):
        path = tmp_path / "many" / f"run-{number:03}"
        for stage in first.stages:
            (path / stage).mkdir(parents=True)
            state_ = "running" if number % 2 and stage == "train" else "finished"
            write_json(path / stage / "status", {"state": state_, "host": "elsewhere", "pid": 1})
            write_json(path / stage / "job.json", {"job": "12"})
        (path / "train" / "progress.jsonl").write_text(progress)
        (path / "run.toml").write_text(spec)
    state.every(tmp_path / "many")  # the first listing keeps what it parsed
    asked.unlink()
    begun = time.process_time()  # other programs on this machine do not count
    views = state.every(tmp_path / "many")
    took = time.process_time() - begun
    assert len(views) == 200
    assert sum(v is not None and v["state"] == "running" for _, v in views) == 100
    assert asked.read_text().count("x") == 1
    assert took < 1.0, f"{took:.2f} s"


def test_finished_runs_cost_slurm_nothing(slurm_run: NewRun, asked: Path) -> None:
    run = slurm_run()
    run.folder("corpus").mkdir()
    run.set_status("corpus", "finished")
    write_json(run.folder("corpus") / "job.json", {"job": "12"})
    assert state.every(run.path.parent)[0][1]["state"] == "finished"  # type: ignore[index]
    assert not asked.exists()


def test_a_folder_that_others_may_have_written_is_refused(slurm_run: NewRun) -> None:
    run = slurm_run()
    run.path.chmod(0o770)
    with pytest.raises(KitError, match="other users may write") as error, held(run):
        pass
    assert "chmod 700" in error.value.fix
    run.path.chmod(0o700)
    with held(run):
        pass
    if os.geteuid():
        pytest.skip("giving a folder to another user needs root")
    os.chown(run.path, 12345, -1)
    with pytest.raises(KitError, match="belongs to another user"), held(run):
        pass


@pytest.mark.parametrize(
    "logs", [{"loss": float("nan")}, {"loss": 1.0, "grad_norm": float("inf")}, {"grad_norm": None}]
)
def test_training_ends_when_its_numbers_are_none(logs: dict[str, float | None]) -> None:
    pytest.importorskip("axolotl")
    from launch.stages.axolotl_watch import stop_if_lost

    stop_if_lost(3, {"loss": 1.0, "grad_norm": 0.5})
    if logs.get("grad_norm", 0) is None:
        stop_if_lost(3, logs)
        return
    with pytest.raises(KitError, match="NaN detected"):
        stop_if_lost(3, logs)


def test_a_loss_outside_the_envelope_ends_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from launch.stages import axolotl_watch, envelope

    monkeypatch.delenv(envelope.VARIABLE, raising=False)
    assert axolotl_watch.guard() is None
    monkeypatch.setenv(envelope.VARIABLE, '{"rise": 1.5, "window": 3}')
    monkeypatch.setenv(axolotl_watch.PROGRESS_DIR, str(tmp_path))
    rows = [{"step": n, "loss": 1.0} for n in range(1, 7)]
    (tmp_path / "progress.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    guard = axolotl_watch.guard()
    axolotl_watch.stop_if_outside(guard, 7, {"grad_norm": 9.0})  # a line without a loss
    axolotl_watch.stop_if_outside(guard, 7, {"loss": 9.0})  # one bad batch
    with pytest.raises(KitError, match="envelope at step 8"):
        axolotl_watch.stop_if_outside(guard, 8, {"loss": 9.0})


def test_status_tells_speed_and_the_next_checkpoint(new_run: Callable[..., Run]) -> None:
    run = new_run(("corpus", "train"))
    folder = run.folder("train")
    folder.mkdir()
    rows = [{"step": n, "of": 400, "time": 10.0 * n, "loss": 2.0, state.SPEED: 100.0}
            for n in range(1, 31)]  # fmt: skip
    (folder / "progress.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    at = state.training(run)
    assert at is not None and at.tokens_s == 100.0 * run.site.world_size
    assert at.left_s == pytest.approx(3700)
    assert at.next_save == 50, "the recipe's interval"
    (folder / "pace.json").write_text('{"next_step": 37}')
    assert (at := state.training(run)) and at.next_save == 37, "what the time limit asks for"
    assert "trainable tokens/s" in at.words()
