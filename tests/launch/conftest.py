"""A run that is real but small: the corpus stage alone, as a submitit job."""

import functools
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launch.cli.app import main
from launch.plan import stack
from launch.run import recipe, site
from launch.run.folder import Run, create
from launch.slurm import jobs

sys.path.insert(0, str(Path(__file__).parent))
from fetched_world import no_sockets, world  # noqa: F401 - fixtures
from realslurm import RealSlurm, missing, running

TURNS = [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": "A."}]


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run `mfo` with these words; gives its exit code and what it printed and complained."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mfo", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
            sys.exit(0)
        out = capsys.readouterr()
        return int(end.value.code or 0), out.out, out.err

    return run


@pytest.fixture
def corpus_file(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    rows = [json.dumps({"id": str(n), "conversations": TURNS}) for n in range(50)]
    file.write_text("\n".join(rows) + "\n")
    return file


@pytest.fixture
def new_run(tmp_path: Path, corpus_file: Path) -> Callable[..., Run]:
    def make(stages: tuple[str, ...] = ("corpus",), runs: Path | None = None) -> Run:
        chosen = recipe.with_settings(
            recipe.load("gemma-3-27b"), [("corpus.sources", str(corpus_file))]
        )
        return create(chosen, site.load("laptop"), list(stages), ["why"], runs or tmp_path / "runs")

    return make


@pytest.fixture(scope="session")
def _slurm() -> Iterator[RealSlurm]:
    if lacking := missing():
        pytest.skip(f"Slurm is not installed here: no {', '.join(lacking)} (apt-get install "
                    "slurmctld slurmd slurm-client munge)")  # fmt: skip
    with running() as slurm:
        yield slurm


@pytest.fixture
def slurm(_slurm: RealSlurm, monkeypatch: pytest.MonkeyPatch) -> Iterator[RealSlurm]:
    """A real Slurm with four nodes, shared by all tests; each finds it empty and whole."""
    for name in ("SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_QOS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_CONF", _slurm.env["SLURM_CONF"])
    monkeypatch.setenv("PATH", _slurm.env["PATH"])
    monkeypatch.setattr(jobs, "ASK_EVERY_S", 0.5)
    _slurm.make_whole()
    yield _slurm
    _slurm.empty()


@pytest.fixture
def slurm_run(tmp_path: Path, corpus_file: Path) -> Callable[..., Run]:
    def make(stages: tuple[str, ...] = ("corpus",), **changes: Any) -> Run:
        chosen = recipe.with_settings(
            recipe.load("gemma-3-27b"), [("corpus.sources", str(corpus_file))]
        )
        place = replace(site.load("slurm-generic"), **changes)
        return create(chosen, place, list(stages), ["why"], tmp_path / "runs")

    return make


_look = functools.cache(stack.look)


@pytest.fixture(autouse=True)
def looked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor's look at this environment's packages costs half a minute: once for all tests."""
    monkeypatch.setattr(stack, "look", _look)
