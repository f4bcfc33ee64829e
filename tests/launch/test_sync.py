"""`mfo sync` sends each offline record once, in order, and says why it cannot.

W&B's server is not here: a stand-in program takes the place of `wandb sync` where it would upload.
"""

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launch.cli import publish
from launch.run import tracking
from launch.run.folder import Run

STAND_IN = """
import json, os, sys
folders = [w for w in sys.argv if "offline-run-" in w]
with open(os.environ["SEEN"], "a") as out:
    print(json.dumps({"words": sys.argv[1:], "mode": os.environ.get("WANDB_MODE")}), file=out)
for folder in folders[: int(os.environ.get("TAKES", "99"))]:
    open(os.path.join(folder, "run-x.wandb.synced"), "w").close()
"""


@pytest.fixture
def server() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str) -> Path:
    (tmp_path / "wandb.py").write_text(STAND_IN)
    monkeypatch.setattr(publish, "WANDB", (sys.executable, str(tmp_path / "wandb.py")))
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", server)
    monkeypatch.setenv("WANDB_MODE", "offline")
    return tmp_path / "seen"


@pytest.fixture
def recorded(new_run: Callable[..., Run]) -> Run:
    run = new_run()
    for time in ("20260102_000000", "20260101_000000"):
        folder = run.path / "wandb" / f"offline-run-{time}-{tracking.run_id(run.name)}"
        folder.mkdir(parents=True)
        (folder / "run-x.wandb").write_bytes(b"record")
    return run


def test_every_record_is_sent_once_under_the_runs_one_id(
    recorded: Run, seen: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    runs = recorded.path.parent
    assert call("sync", recorded.name, "--runs", runs)[0] == 0
    code, out, _ = call("sync", recorded.name, "--runs", runs)
    assert code == 0 and "nothing to upload" in out
    said = [json.loads(line) for line in seen.read_text().splitlines()]
    assert len(said) == 1
    words = said[0]["words"]
    assert words[words.index("--id") + 1] == tracking.run_id(recorded.name)
    assert [Path(w).name[12:20] for w in words if "offline-run-" in w] == ["20260101", "20260102"]
    assert said[0]["mode"] is None, "in offline mode W&B would send nothing"
    assert "k" * 40 not in " ".join(words), "the key is in no command line"


def test_what_was_not_taken_is_an_error_and_is_sent_alone_next_time(
    recorded: Run, seen: Path, call: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("TAKES", "1")
    code, _, err = call("sync", recorded.name, "--runs", recorded.path.parent)
    assert code == 2 and "1 of 2 records" in err
    monkeypatch.setenv("TAKES", "9")
    assert call("sync", recorded.name, "--runs", recorded.path.parent)[0] == 0
    last = json.loads(seen.read_text().splitlines()[-1])["words"]
    assert sum("offline-run-" in w for w in last) == 1


def test_no_key_and_no_server_are_named_at_once(
    recorded: Run, seen: Path, call: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    code, _, err = call("sync", recorded.name, "--runs", recorded.path.parent)
    assert code == 2 and "cannot be reached" in err and "127.0.0.1:9" in err
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    code, _, err = call("sync", recorded.name, "--runs", recorded.path.parent)
    assert code == 2 and "WANDB_API_KEY" in err
    assert not seen.exists() and os.environ["WANDB_MODE"] == "offline"
