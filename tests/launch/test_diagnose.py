"""The first cause in real logs: tests/launch/logs/make.py caused each of them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from launch.run.folder import Run
from launch.slurm.diagnose import RULES, diagnose, late_rank, logs_of

LOGS = Path(__file__).parent / "logs"
CAUSES = {
    "axolotl-key": "configuration",
    "cut-weights": "cut-weights",
    "dataset-hash": "dataset-hash",
    "disk-full": "disk-full",
    "host-memory": "host-memory",
    "image-without-submitit": "wrong-image",
    "import-error": "import-error",
    "late-rank": "late-rank",
    "name-unknown": "unknown-name",
    "no-cuda": "no-gpu",
    "no-pyxis": "wrong-image",
    "node-lost": "lost-node",
    "node-never-came": "never-came",
    "not-fetched": "not-fetched",
    "open-files": "open-files",
    "package-of-another-python": "exception",
    "port-taken": "port-taken",
    "rank-killed": "killed",
    "read-only": "read-only",
    "segfault": "crash",
    "time-limit": "time-limit",
    "wandb-without-key": "missing-token",
    "wrong-architecture": "wrong-image",
}


def test_every_log_has_its_cause_here() -> None:
    assert {p.stem for p in LOGS.glob("*.log")} == set(CAUSES)


@pytest.mark.parametrize("name", sorted(CAUSES))
def test_the_first_cause(name: str) -> None:
    found = diagnose([LOGS / f"{name}.log"])
    assert found is not None
    assert found.rule.name == CAUSES[name], found
    assert found.rule.fix.format(run="RUN")


def test_no_log_betrays_the_machine_that_made_it() -> None:
    for path in LOGS.glob("*.log"):
        text = path.read_text()
        assert len(text) < 60_000, path
        for word in ("/root", "/home/", "mfolog", "/tmp/mfo"):  # noqa: S108
            assert word not in text, f"{path.name}: {word}"


def test_the_late_rank_is_named() -> None:
    found = diagnose([LOGS / "late-rank.log"])
    assert found is not None
    assert found.late == "rank 1"


def test_the_rank_that_is_behind_in_ncclss_words() -> None:
    # The form of NCCL's watchdog; no GPU here, so this is the one text that was not caused.
    line = "[Rank {}] Watchdog caught collective operation timeout: WorkNCCL(SeqNum={}, OpType=X)"
    text = "\n".join(line.format(r, n) for r, n in ((0, 17), (1, 17), (2, 12), (3, 17)))
    assert late_rank(text) == "rank 2"
    assert late_rank(line.format(0, 17)) == ""


def test_a_cause_wins_over_its_consequences_in_whatever_file(tmp_path: Path) -> None:
    one, two = tmp_path / "log", tmp_path / "log.node1"
    one.write_text("[default0]: Connection closed by peer\nSignal 9 (SIGKILL)\n")
    two.write_text("fine\nRuntimeError: DefaultCPUAllocator: can't allocate memory\n")
    found = diagnose([one, two])
    assert found is not None
    assert (found.rule.name, found.where) == ("host-memory", f"{two}:2")


def test_a_log_of_a_good_run_has_no_cause(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("{'loss': '2.1', 'grad_norm': '0.9'}\nstart: from the base model\n")
    assert diagnose([file]) is None
    assert diagnose([tmp_path / "missing"]) is None
    file.write_text("{'loss': 'nan', 'grad_norm': 'nan'}\n")
    found = diagnose([file])
    assert found is not None and found.rule.name == "nan"


def test_the_last_attempts_ranks_are_read(slurm_run: Callable[..., Run]) -> None:
    run = slurm_run(stages=("train",))
    for attempt, text in (("5.0", "No space left on device"), ("5.1", "Too many open files")):
        folder = run.folder("train") / "ranks" / attempt / "node0" / "none_x" / "attempt_0" / "0"
        folder.mkdir(parents=True)
        (folder / "stderr.log").write_text(text)
    found = diagnose(logs_of(run))
    assert found is not None and found.rule.name == "open-files"


def test_rules_are_whole() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.fix.format(run="R") and rule.says
