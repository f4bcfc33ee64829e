"""`mfo sync`: bring to W&B what was recorded without a network.

W&B's own program uploads; this finds a run's records, also those of earlier attempts, and hands
them over under the run's one id, so that a requeued training is one curve.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from kit.errors import KitError
from launch.run import tracking

if TYPE_CHECKING:
    from launch.run.folder import Run

WANDB = (sys.executable, "-m", "wandb")
DEFAULT_SERVER = "https://api.wandb.ai"
_REACH_S = 10.0


def records(run: Run, *, again: bool = False) -> list[Path]:
    """Folders of a run's offline records that were not uploaded yet, the oldest first.

    Args:
        again: those that were uploaded before as well.
    """
    found = sorted((run.path / "wandb").glob("offline-run-*"))
    return [p for p in found if list(p.glob("*.wandb")) and (again or not list(p.glob("*.synced")))]


def sync(runs: list[Run], *, again: bool) -> int:
    """Upload the records of these runs; gives the exit code.

    Raises:
        KitError: no key, no server, or W&B's program failed; what was uploaded stays so.
    """
    todo = [(run, folders) for run in runs if (folders := records(run, again=again))]
    if not todo:
        click.echo("nothing to upload: no offline record that was not uploaded before")
        return 0
    _check()
    for run, folders in todo:
        click.echo(f"{run.name}: {len(folders)} records, as W&B run {tracking.run_id(run.name)}")
        words = [*WANDB, "sync", "--yes", "--id", tracking.run_id(run.name), "-n", "1",
                 *(["--include-synced"] if again else []), *map(str, folders)]  # fmt: skip
        # The offline mode that made these records must not keep them from leaving now.
        env = {k: v for k, v in os.environ.items() if k != "WANDB_MODE"}
        try:
            code = subprocess.run(words, env=env, stdin=subprocess.DEVNULL).returncode
        except OSError as error:
            raise KitError(f"W&B's program does not start: {error}", fix="make setup") from None
        left = records(run)
        if code or left:
            raise KitError(
                f"W&B took {len(folders) - len(left)} of {len(folders)} records",
                where=str(run.path / "wandb"),
                cause=f"its program ended with {code}; what it said stands above",
                fix=f"mfo sync {run.name}, which sends only what is missing",
            )
    click.echo(f"next:  mfo verify {todo[-1][0].name}")
    return 0


def _check() -> None:
    if not tracking.has_key():
        raise KitError(
            "there is no key for W&B", where="WANDB_API_KEY",
            fix="export WANDB_API_KEY=…, or wandb login; then mfo sync again",
        )  # fmt: skip
    # W&B's program would try again for hours, silently.
    server = urlsplit(os.environ.get("WANDB_BASE_URL") or DEFAULT_SERVER)
    port = server.port or (80 if server.scheme == "http" else 443)
    try:
        socket.create_connection((server.hostname or "", port), timeout=_REACH_S).close()
    except OSError as error:
        raise KitError(
            f"W&B's server cannot be reached: {error.strerror or error}",
            where=f"{server.hostname}:{port}",
            cause="this machine has no way out (a compute node?), or WANDB_BASE_URL is wrong",
            fix="mfo sync on a machine with a network; a copy of the run's folder is enough",
        ) from None
