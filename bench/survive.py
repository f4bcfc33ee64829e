# ruff: noqa: ARG001 - every fault takes the same three
"""Break a training run on a real Slurm in mid-step, in many ways, and see whether it comes back.

    python bench/survive.py [--times 1] [--steps 24] [FAULT ...]     # needs Slurm, see README
    about 100 s a fault on two free cores; every fault once, then again
    python bench/survive.py --one-run --times 5  # the whole smoke run, broken six times on its way

Each line that it prints is one try: the fault, whether the weights are bit-identical to those of an
undisturbed run, how many steps had to be done again, and how often Slurm requeued the job. Nodes
are namespaces of this machine ("ns", as root), so a killed node really loses its processes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "launch")]

from realslurm import RealSlurm, running  # noqa: E402

from kit.files import tail_jsonl  # noqa: E402
from launch.run import recipe, site  # noqa: E402
from launch.run.folder import Run, create  # noqa: E402
from launch.slurm import (  # noqa: E402
    chain,
    jobs,
    pipeline,
)

PATIENCE_S = 900


def step(run: Run) -> int:
    """The step that training is at, also where it has gone back to a checkpoint."""
    rows = tail_jsonl(run.folder("train") / "progress.jsonl")
    return next((r["step"] for r in reversed(rows) if "loss" in r), 0)


def until(true: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.05)


def preemption(slurm: RealSlurm, run: Run, number: str) -> None:
    slurm.call("sbatch", "--partition=high", "-N4", "--exclusive", "--output=/dev/null",
               "--wrap=sleep 3")  # fmt: skip


def time_limit(slurm: RealSlurm, run: Run, number: str) -> None:
    restarts = slurm.job(number).get("Restarts")
    used = slurm.job(number)["RunTime"].split(":")
    minutes = int(used[0]) * 60 + int(used[1]) + 2
    slurm.say("update", f"jobid={number}", f"timelimit={minutes}")
    until(lambda: slurm.job(number).get("Restarts") != restarts, "the job to be requeued")
    slurm.say("update", f"jobid={number}", "timelimit=30")  # a cluster's limit stays as it was


def requeue(slurm: RealSlurm, run: Run, number: str) -> None:
    slurm.say("requeue", number)


def node_killed(slurm: RealSlurm, run: Run, number: str) -> None:
    slurm.kill_node(slurm.nodes[1])


def node_drained(slurm: RealSlurm, run: Run, number: str) -> None:
    slurm.say("update", f"nodename={slurm.nodes[0]}", "state=drain", "reason=test")


def node_down(slurm: RealSlurm, run: Run, number: str) -> None:
    slurm.say("update", f"nodename={slurm.nodes[0]}", "state=down", "reason=test")


def launcher_killed(slurm: RealSlurm, run: Run, number: str) -> None:
    """The launcher was killed before the job began to train: see `once`."""


def controller_restarted(slurm: RealSlurm, run: Run, number: str) -> None:
    slurm.kill_controller()
    time.sleep(3)
    slurm.start_controller()


def rank_killed(slurm: RealSlurm, run: Run, number: str) -> None:
    out = subprocess.run(["pgrep", "-f", "-u .*axolotl.cli.train"], capture_output=True, text=True)
    for pid in out.stdout.split():
        environ = Path(f"/proc/{pid}/environ")
        if f"SLURM_JOB_ID={number}".encode() in environ.read_bytes().split(b"\0"):
            os.kill(int(pid), signal.SIGKILL)
            return


FAULTS = {
    "preemption": preemption,
    "time limit": time_limit,
    "requeue": requeue,
    "node killed": node_killed,
    "node down": node_down,
    "node drained": node_drained,
    "launcher killed": launcher_killed,
    "controller restarted": controller_restarted,
    "rank killed": rank_killed,
}


def new_run(place: Path, smoke: str, steps: int) -> Run:
    chosen = recipe.with_settings(
        recipe.load(smoke), [("train.max_steps", steps), ("train.save_steps", steps // 3)]
    )
    where = replace(site.load("slurm-generic"), nodes=2, time_min={"corpus": 30, "train": 30},
                    signal_s=240)  # fmt: skip
    return create(chosen, where, ["corpus", "train"], [], place / "runs")


def submit(run: Run, *, killed: bool) -> None:
    """Submit from this process, or from one that is killed while it watches."""
    if not killed:
        chain.submit(run)
        return
    words = [sys.executable, "-m", "launch", "resume", str(run.path)]
    launcher = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL)
    until(lambda: step(run) > 0, "the first step")
    launcher.kill()
    launcher.wait()


def once(
    slurm: RealSlurm, place: Path, smoke: str, steps: int, fault: str | None
) -> dict[str, object]:
    """Train once, with one fault in the middle; gives what came of it."""
    slurm.empty()
    slurm.make_whole()
    run, begun = new_run(place, smoke, steps), time.monotonic()
    submit(run, killed=fault == "launcher killed")
    number = str(chain.job_number(run, "train"))
    at = 0
    if fault:
        until(lambda: step(run) >= steps // 2 - 1, "mid-training")
        at = step(run)
        FAULTS[fault](slurm, run, number)
    outcome = "finished"
    resumed = 0
    try:
        jobs.wait(run, pipeline.Observer())
    except pipeline.StageFailedError as error:
        outcome = error.what
        if fault == "rank killed":  # nothing requeues a program that failed: the user resumes
            slurm.empty()
            resumed = 1
            chain.submit(run)
            jobs.wait(run, pipeline.Observer())
            outcome = "finished"
    rows = [r["step"] for r in tail_jsonl(run.folder("train") / "progress.jsonl") if "loss" in r]
    attempts = tail_jsonl(run.folder("train") / "attempts.jsonl")
    out = {
        "fault": fault or "none", "outcome": outcome, "at": at, "lost": len(rows) - len(set(rows)),
        "attempts": len(attempts), "from": [a["from"] for a in attempts], "resumed": resumed,
        "weights": str(run.facts("train").get("weights"))[:16],
        "seconds": round(time.monotonic() - begun),
    }  # fmt: skip
    if outcome == "finished":
        shutil.rmtree(run.path)
    else:
        out["run"] = str(run.path)
    return out


#: The faults of one whole run, and the steps at which they come.
WAY = ("preemption", "node killed", "requeue", "node drained", "time limit", "launcher killed")
STEPS = (35, 75, 105, 135, 165, 205)
#: Faults that do not stop the job.
HARMLESS = ("node drained", "launcher killed")


def one_run(slurm: RealSlurm, place: Path, smoke: str, turn: int) -> dict[str, object]:
    """Break one full-length run by every fault in turn; gives its verdict and its weights."""
    from checks.verdict import read_verdict
    from launch.plan.choices import FULL

    slurm.empty()
    slurm.make_whole()
    where = replace(site.load("slurm-generic"), nodes=2, signal_s=240,
                    time_min=dict.fromkeys(FULL, 30))  # fmt: skip
    run = create(recipe.load(smoke), where, FULL, [], place / "runs")
    words = [sys.executable, "-m", "launch", "resume", str(run.path)]
    launcher, begun = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL), time.monotonic()
    attempts = run.folder("train") / "attempts.jsonl"
    # Another order in each turn, so that each fault meets the run at other steps.
    for fault, due in zip([*WAY[turn % 6 :], *WAY[: turn % 6]], STEPS, strict=True):
        until(lambda due=due: step(run) >= due, f"step {due}")  # type: ignore[misc]
        number = str(chain.job_number(run, "train"))
        at, tries = step(run), len(tail_jsonl(attempts))
        if fault == "launcher killed":
            launcher.kill()
            launcher.wait()
        else:
            FAULTS[fault](slurm, run, number)
        told: dict[str, object] = {"fault": fault, "at": at}
        if fault not in HARMLESS:
            until(lambda n=tries: len(tail_jsonl(attempts)) > n, "the next attempt")  # type: ignore[misc]
            told["from"] = tail_jsonl(attempts)[-1]["from"]
            slurm.make_whole()
        print(json.dumps(told), flush=True)
    jobs.wait(run, pipeline.Observer())
    rows = [r["step"] for r in tail_jsonl(run.folder("train") / "progress.jsonl") if "loss" in r]
    out = {"verdict": read_verdict(run.verdict)["verdict"], "lost": len(rows) - len(set(rows)),
           "attempts": len(tail_jsonl(attempts)), "weights": run.facts("train")["weights"][:16],
           "seconds": round(time.monotonic() - begun)}  # fmt: skip
    shutil.rmtree(run.path)
    return out


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    words.add_argument("faults", nargs="*")
    words.add_argument("--times", type=int, default=1)
    words.add_argument("--steps", type=int, default=24)
    words.add_argument("--recipe", default="smoke")
    words.add_argument("--one-run", action="store_true", help="all faults in one whole run")
    words.add_argument("--first", type=int, default=0, help="of the turns of --one-run")
    words.add_argument("--weights", help="of an undisturbed run, if one was done before")
    given = words.parse_args()
    place = Path(tempfile.mkdtemp(prefix="mfosurvive"))
    with running(grace=60) as slurm:
        os.environ.update({"SLURM_CONF": slurm.env["SLURM_CONF"], "PATH": slurm.env["PATH"]})
        jobs.ASK_EVERY_S = 1.0
        if given.one_run:
            for turn in range(given.first, given.first + given.times):
                print(json.dumps(one_run(slurm, place, given.recipe, turn)), flush=True)
            shutil.rmtree(place)
            return
        calm = {"weights": given.weights}
        if not given.weights:
            calm = once(slurm, place, given.recipe, given.steps, None)
            print(json.dumps(calm), flush=True)
        for turn in range(given.times):
            for fault in given.faults or FAULTS:
                try:
                    result = once(slurm, place, given.recipe, given.steps, fault)
                except TimeoutError as error:
                    result = {"fault": fault, "outcome": f"waited in vain for {error}"}
                result["identical"] = result.get("weights") == calm["weights"]
                print(json.dumps({"turn": turn + 1, **result}), flush=True)
    shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
