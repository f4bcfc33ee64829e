"""Training across nodes of a real Slurm: the same weights as on one, also when it is disturbed."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from realslurm import RealSlurm

from kit.files import tail_jsonl
from launch.cli.options import shaped
from launch.cli.watch import rank_log
from launch.run import recipe, site
from launch.run.folder import Run, create
from launch.slurm import chain, jobs, pipeline, state

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


@pytest.fixture
def smoke(tmp_path: Path) -> Callable[..., Run]:
    def make(place: str, nodes: int | None = None) -> Run:
        chosen = recipe.with_settings(
            recipe.load("smoke"), [("train.max_steps", 12), ("train.save_steps", 4)]
        )
        where = shaped(site.load(place), nodes)
        return create(chosen, where, ["corpus", "train"], [], tmp_path / "runs")

    return make


def test_two_nodes_disturbed_give_the_weights_of_one(
    slurm: RealSlurm, smoke: Callable[..., Run]
) -> None:
    pytest.importorskip("axolotl")
    alone = smoke("laptop")
    pipeline.walk(alone, pipeline.Observer())

    run = smoke("slurm-generic", nodes=2)
    number = chain.submit(run)["train"]
    progress = run.folder("train") / "progress.jsonl"
    end = time.monotonic() + 600
    while not [r for r in tail_jsonl(progress) if r["step"] >= 6] and time.monotonic() < end:
        time.sleep(0.05)
    seen = state.overview(run, state.ask([run]))
    assert seen["stages"]["train"] == "running"
    assert slurm.job(number)["NumNodes"] == "2"
    # A job of higher priority wants all nodes: training saves, stops, and comes back.
    slurm.call("sbatch", "--partition=high", "-N4", "--exclusive", "--output=/dev/null",
               "--wrap=sleep 1")  # fmt: skip
    jobs.wait(run, pipeline.Observer())

    attempts = tail_jsonl(run.folder("train") / "attempts.jsonl")
    assert len(attempts) == 2
    assert attempts[1]["from"] >= 6, "it went on from where it was stopped, not from the interval"
    steps = [r["step"] for r in tail_jsonl(progress) if "loss" in r]
    assert steps == list(range(1, 13)), "no step was done twice"
    assert run.facts("train")["weights"] == alone.facts("train")["weights"]
    for rank in (0, 1):
        assert rank_log(run, rank).stat().st_size
    assert (found := state.training(run)) and found.tokens_s
