"""Runs on a real Slurm: submission, chains, refusals, and what is said when Slurm is away."""

from collections.abc import Callable

import pytest
from realslurm import RealSlurm

from launch import pipeline
from launch.cluster import chain
from launch.run import Run
from launch.watch import jobs

pytestmark = pytest.mark.slurm
NewRun = Callable[..., Run]


def wait(run: Run) -> None:
    jobs.wait(run, pipeline.Observer())


def test_a_stage_runs_as_a_job_and_is_not_run_again(slurm: RealSlurm, slurm_run: NewRun) -> None:
    run = slurm_run()
    numbers = chain.submit(run)
    wait(run)
    assert pipeline.finished(run, "corpus")
    assert chain.job_number(run, "corpus") == numbers["corpus"]
    assert "components" in (run.folder("corpus") / "summary.json").read_text()
    assert (run.folder("corpus") / "log").read_text().count("rows") > 0
    assert chain.submit(run) == {}
