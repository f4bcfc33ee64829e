"""How long `mfo status` takes with many runs in the folder, and how often it asks Slurm.

    python -m bench.status [--runs 200]          # needs Slurm, see README

Half of the runs are finished, a quarter wait as jobs of a real Slurm, a quarter were interrupted in
training with a thousand steps of progress.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "launch")]

from realslurm import running  # noqa: E402

from kit.files import write_json  # noqa: E402
from launch.plan.choices import FULL  # noqa: E402
from launch.run import recipe, site  # noqa: E402
from launch.run.folder import create  # noqa: E402


def fill(runs: Path, count: int, job: str) -> None:
    chosen = recipe.load("smoke")
    for number in range(count):
        on_slurm = number % 4 == 1
        run = create(chosen, site.load("slurm-generic" if on_slurm else "laptop"), FULL, [], runs)
        for stage in FULL:
            run.folder(stage).mkdir(exist_ok=True)
        if number % 2 == 0:
            for stage in FULL:
                run.set_status(stage, "finished")
            write_json(run.verdict, {"verdict": "reproduced"})
        elif on_slurm:
            write_json(run.folder("corpus") / "job.json", {"job": job})
            run.set_status("corpus", "queued", job=job)
        else:
            run.set_status("corpus", "finished")
            rows = [
                {"step": n, "of": 2000, "time": n, "loss": 1.0, "epoch": 0.1} for n in range(1000)
            ]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (run.folder("train") / "progress.jsonl").write_text(text)
            run.set_status("train", "interrupted")


def main() -> None:
    words = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    words.add_argument("--runs", type=int, default=200)
    given = words.parse_args()
    with running() as slurm, tempfile.TemporaryDirectory() as place:
        slurm.call("sbatch", "--hold", "--wrap=true", "--output=/dev/null")
        fill(Path(place) / "runs", given.runs, "1")
        # squeue and sacct count themselves: a program of the same name stands before the real one.
        counter = Path(place) / "bin"
        counter.mkdir()
        for name in ("squeue", "sacct", "scontrol"):
            (counter / name).write_text(
                f'#!/bin/sh\necho {name} >> {place}/asked\nPATH="${{PATH#*:}}" exec {name} "$@"\n'
            )
            (counter / name).chmod(0o755)
        env = {**slurm.env, "PATH": f"{counter}:{slurm.env['PATH']}"}
        for turn in ("first", "second", "third"):
            (Path(place) / "asked").write_text("")
            begun, cpu = time.perf_counter(), os.times()
            command = [sys.executable, "-m", "launch", "status", "--runs", f"{place}/runs"]
            done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
            now = os.times()
            used = now.children_user + now.children_system - cpu.children_user - cpu.children_system
            asked = (Path(place) / "asked").read_text().split()
            print(json.dumps({
                "turn": turn, "runs": len(done.stdout.splitlines()) - 2, "rc": done.returncode,
                "wall_s": round(time.perf_counter() - begun, 2), "cpu_s": round(used, 2),
                "asked": asked,
            }))  # fmt: skip


if __name__ == "__main__":
    main()
