"""Run folders: what is whole is kept, what is not is never taken for whole."""

import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kit.errors import KitError
from kit.process import is_alive
from launch.run.folder import Run, find, held, open_run
from launch.slurm import pipeline, state

NewRun = Callable[..., Run]


class Seen(pipeline.Observer):
    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def skipped(self, name: str) -> None:
        self.events.append((name, "skipped"))

    def ended(self, name: str, state: str) -> None:
        self.events.append((name, state))


def walk(run: Run) -> list[tuple[str, str]]:
    seen = Seen()
    pipeline.walk(run, seen)
    return seen.events


def test_a_finished_stage_is_skipped_until_something_it_depends_on_changes(
    new_run: NewRun, corpus_file: Path
) -> None:
    run = new_run()
    assert walk(run) == [("corpus", "finished")]
    assert state.overview(run)["state"] == "finished"
    assert walk(run) == [("corpus", "skipped")]

    train = run.folder("corpus") / "train.jsonl"
    whole = train.read_bytes()
    os.utime(train)  # another time, the same bytes
    assert walk(run) == [("corpus", "skipped")]
    train.write_bytes(whole[:-10])
    assert walk(run) == [("corpus", "finished")]
    assert train.read_bytes() == whole
    train.write_bytes(whole.replace(b"A.", b"B."))  # the same size, other bytes
    assert walk(run) == [("corpus", "finished")]
    (run.folder("corpus") / "outputs.json").write_text('{"files": {')
    assert walk(run) == [("corpus", "finished")]

    corpus_file.write_text(corpus_file.read_text().replace("Q?", "Why?"))
    assert walk(run) == [("corpus", "finished")]
    assert b"Why?" in train.read_bytes()


def test_a_failed_stage_says_what_where_and_what_next(new_run: NewRun, corpus_file: Path) -> None:
    run = new_run()
    corpus_file.write_text('{"id": "a", "conversations": []}\n')
    with pytest.raises(pipeline.StageFailedError, match="1 of 1 rows") as error:
        walk(run)
    assert str(corpus_file) in error.value.where
    assert run.status("corpus")["state"] == "failed"
    assert "1 of 1 rows" in (run.folder("corpus") / "log").read_text()
    assert not (run.folder("corpus") / "outputs.json").exists()


def test_a_stage_killed_from_outside_is_not_finished(new_run: NewRun) -> None:
    run = new_run()
    run.folder("corpus").mkdir()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    run.set_status("corpus", "running")
    file = run.folder("corpus") / "status"
    file.write_text(json.dumps({**json.loads(file.read_text()), "pid": dead.pid}))
    assert run.status("corpus")["state"] == "interrupted"
    assert walk(run) == [("corpus", "finished")]


def test_one_launcher_at_a_time(new_run: NewRun) -> None:
    run = new_run()
    with held(run), pytest.raises(KitError, match="already being run"), held(open_run(run.path)):
        pass
    with held(run):
        pass


def test_everything_is_frozen_and_survives_the_disk(new_run: NewRun) -> None:
    run = new_run()
    spec = tomllib.loads((run.path / "run.toml").read_text())
    assert spec == run.spec
    again = open_run(run.path)
    assert again.recipe.data == run.recipe.data
    assert again.recipe.settings == run.recipe.settings
    assert again.site == run.site
    assert spec["decisions"] == ["why"]
    assert (run.path.stat().st_mode & 0o777) == 0o700


def test_a_folder_of_another_version_is_refused_with_a_way_out(new_run: NewRun) -> None:
    run = new_run()
    file = run.path / "run.toml"
    text = file.read_text()
    file.write_text(text.replace("format = 1", "format = 99"))
    with pytest.raises(KitError, match="format 99, this kit reads 1") as error:
        open_run(run.path)
    assert "check out that version" in error.value.fix
    file.write_text(text[: len(text) // 2])
    with pytest.raises(KitError):
        open_run(run.path)
    # A listing of all runs goes on past it.
    assert state.every(run.path.parent) == [(run.path, None)]


def test_find_by_name_path_or_latest(new_run: NewRun, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with pytest.raises(KitError, match="no run yet"):
        find(None, runs)
    one, two = new_run(), new_run()
    assert one.path != two.path, "two runs in the same second"
    os.utime(one.path / "run.toml", (1, 1))
    assert find(None, runs).path == two.path
    assert find(one.name, runs).path == one.path
    assert find(str(one.path), runs).path == one.path
    with pytest.raises(KitError, match=two.name):
        find(one.name[:-3] + "xyz", runs)


def test_an_unwritable_place_for_runs(new_run: NewRun, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KitError, match="cannot be written") as error:
        new_run(runs=tmp_path / "file" / "runs")
    assert "--runs" in error.value.fix


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "none", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_is_named_and_resumed_from(
    new_run: NewRun, small_disk: Path, corpus_file: Path
) -> None:
    row = json.loads(corpus_file.read_text().splitlines()[0])
    row["conversations"][1]["value"] = "long " * 20_000
    corpus_file.write_text(json.dumps(row) + "\n")
    run = new_run(runs=small_disk)
    with pytest.raises(pipeline.StageFailedError, match="disk is full") as error:
        walk(run)
    assert "mfo resume" in error.value.fix
    assert not (run.folder("corpus") / "train.jsonl").exists()
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert walk(run) == [("corpus", "finished")]


def test_a_dead_process_that_nobody_reaped_is_not_alive() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert is_alive(process.pid)
    process.kill()
    time.sleep(0.5)  # not waited for: the kernel keeps its number and its state
    assert not is_alive(process.pid)
    process.wait()
    assert not is_alive(process.pid)
