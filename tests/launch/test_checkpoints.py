"""A checkpoint that was cut in half is told from a whole one, and set aside."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.stages import checkpoints

ROOT = Path(__file__).parents[2]


def make(output: Path, step: int, *, whole: bool = True) -> Path:
    path = output / f"checkpoint-{step}"
    (path / "pytorch_model_fsdp_0").mkdir(parents=True)
    (path / "pytorch_model_fsdp_0" / "__0_0.distcp").write_bytes(bytes(range(256)) * 40)
    (path / "trainer_state.json").write_text(f'{{"global_step": {step}}}')
    if whole:
        files = checkpoints.describe(path, checkpoints.list_files(path))
        checkpoints.mark_whole(path, step, files)
    return path


def test_whole_checkpoint_is_whole(tmp_path: Path) -> None:
    path = make(tmp_path, 10)
    assert checkpoints.is_whole(path) is None
    listed = json.loads((path / "whole.json").read_text())
    assert set(listed["files"]) == {"pytorch_model_fsdp_0/__0_0.distcp", "trainer_state.json"}


def test_each_damage_is_named(tmp_path: Path) -> None:
    shard = "pytorch_model_fsdp_0/__0_0.distcp"

    def reason(step: int, damage: object) -> str:
        path = make(tmp_path, step)
        damage(path)  # type: ignore[operator]
        found = checkpoints.is_whole(path)
        assert found is not None
        return found

    assert "5,000 bytes, not 10,240" in reason(1, lambda p: os.truncate(p / shard, 5000))
    assert "missing" in reason(2, lambda p: (p / shard).unlink())
    # The size is right: a page of zeros, as a crash of the machine leaves it.
    zeros = reason(3, lambda p: (p / shard).write_bytes(bytes(10_240)))
    assert shard in zeros
    assert "contents" in zeros
    assert "was being written" in reason(4, lambda p: (p / "whole.json").unlink())
    assert "cannot be read" in reason(5, lambda p: (p / "whole.json").write_text('{"files": {'))
    outside = {"files": {"../checkpoint-1/trainer_state.json": {"size": 1, "sha256": ""}}}
    assert "outside" in reason(6, lambda p: (p / "whole.json").write_text(json.dumps(outside)))


def test_broken_ones_are_set_aside_and_the_last_whole_one_stays(tmp_path: Path) -> None:
    make(tmp_path, 90)
    whole = make(tmp_path, 100)
    (make(tmp_path, 110) / "trainer_state.json").unlink()
    make(tmp_path, 120, whole=False)
    assert checkpoints.last_whole(tmp_path) == whole

    moved = checkpoints.set_aside_broken(tmp_path)
    assert [broken.path.name for broken in moved] == ["checkpoint-110", "checkpoint-120"]
    assert all(broken.moved_to.is_dir() and broken.reason for broken in moved)
    # Axolotl's auto_resume looks at checkpoint-*: nothing broken may match that.
    assert sorted(p.name for p in tmp_path.glob("checkpoint-*")) == [
        "checkpoint-100",
        "checkpoint-90",
    ]
    assert checkpoints.set_aside_broken(tmp_path) == []

    # The same step breaks a second time: the first one is kept beside it.
    make(tmp_path, 120, whole=False)
    assert checkpoints.set_aside_broken(tmp_path)[0].moved_to.name == "broken-checkpoint-120-2"


def test_nothing_there_is_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoints.last_whole(tmp_path / "absent") is None
    assert checkpoints.set_aside_broken(tmp_path) == []
    assert checkpoints.is_whole(tmp_path / "checkpoint-1") is not None


WORKER = """
import os, sys, time
sys.path.insert(0, {root!r})
from launch.stages.axolotl_watch import end_with_torchrun
end_with_torchrun()
print(os.getpid(), flush=True)
time.sleep(60)
"""
LAUNCHER = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {worker!r}], start_new_session=True)
time.sleep(60)
"""


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(("under_torchrun", "survives"), [(True, False), (False, True)])
def test_worker_dies_with_its_launcher(under_torchrun: bool, survives: bool) -> None:
    pytest.importorskip("axolotl")
    env = {k: v for k, v in os.environ.items() if k != "TORCHELASTIC_RUN_ID"}
    if under_torchrun:
        env["TORCHELASTIC_RUN_ID"] = "test"
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER.format(worker=WORKER.format(root=str(ROOT)))],
        env=env, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert launcher.stdout is not None
    worker = int(launcher.stdout.readline())
    try:
        os.kill(launcher.pid, signal.SIGKILL)
        launcher.wait()
        deadline = time.monotonic() + (3 if survives else 10)
        while _alive(worker) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert _alive(worker) is survives
    finally:
        if _alive(worker):
            os.kill(worker, signal.SIGKILL)
