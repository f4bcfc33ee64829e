"""The command line: what a user types wrong is answered in one message, with exit code 2."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import yaml
from click.shell_completion import BashComplete

from launch.cli import run as cli_run
from launch.cli import verify
from launch.cli.app import ENTRIES, mfo
from launch.plan import choices
from launch.run.folder import Run

PUBLISHED = """
[table]
source = "an invented paper"
[benchmarks.medqa]
items = 40
decimals = 2
metric = "accuracy"
[models.ours]
medqa = 75.0
"""


def test_help_lists_the_commands_and_imports_no_framework() -> None:
    heavy = "{'torch', 'rich', 'submitit', 'scipy', 'yaml', 'huggingface_hub', 'transformers'}"
    code = (
        "import sys; from launch.cli.app import main; sys.argv = ['mfo', '--help']\n"
        f"try: main()\nfinally: assert not {heavy} & set(sys.modules), sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("run", "resume", "status", "logs", "verify", "report", "audit"):
        assert f"\n  {name} " in done.stdout
    assert "Exit codes" in done.stdout


@pytest.mark.parametrize("name", ENTRIES)
def test_the_help_page_says_of_a_command_what_the_command_says_itself(name: str) -> None:
    command = mfo.get_command(click.Context(mfo), name)
    assert command is not None
    assert command.name == name
    assert ENTRIES[name].short_help == command.get_short_help_str(64)


def test_no_command_is_missing_in_the_help_page() -> None:
    for path in (Path(__file__).parents[2] / "launch" / "cli").glob("*.py"):
        module = importlib.import_module(f"launch.cli.{path.stem}")
        if path.stem == "app":
            continue
        groups = [g for g in vars(module).values() if isinstance(g, click.Group)]
        inner = {id(c) for g in groups for c in g.commands.values()}
        mine = {
            c.name
            for c in vars(module).values()
            if isinstance(c, click.Command) and id(c) not in inner
        }
        assert mine <= ENTRIES.keys(), path.name


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("mfo re", ["resume", "recipes", "recipe", "report"]),
        ("mfo recipe ", ["diff", "show"]),
        ("mfo run smoke-ol", ["smoke-olmo-2-32b"]),
        ("mfo plan smoke --site clariden-", ["clariden-aei"]),
    ],
)
def test_a_shell_completes_commands_recipes_and_sites(words: str, offered: list[str]) -> None:
    given = words.split(" ")
    complete = BashComplete(mfo, {}, "mfo", "_MFO_COMPLETE")
    found = complete.get_completions(given[1:-1], given[-1])
    assert [item.value for item in found] == offered


@pytest.mark.parametrize("words", [("--help",), ("status",), ("audit", "nothing")])
def test_what_is_asked_often_imports_no_checker_of_files(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    """msgspec costs 10 ms: it is imported where a file is checked (kit/schema.py)."""
    code = (
        f"import sys; from launch.cli.app import main; sys.argv = {['mfo', *words]}\n"
        "try: main()\nfinally: assert 'msgspec' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MFO_RUNS": str(tmp_path)},
    )
    assert "AssertionError" not in done.stderr, done.stderr


def test_a_shell_completes_a_command_without_importing_it() -> None:
    code = (
        "import sys; from launch.cli.app import mfo; from click.shell_completion import *\n"
        "assert BashComplete(mfo, {}, 'mfo', '').get_completions([], 're')\n"
        "assert not {'launch.cli.run', 'launch.cli.recipes'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ENTRIES)
def test_every_command_explains_itself(
    name: str, call: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, _ = call(name, "--help")
    assert code == 0
    assert len(out) > 100


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rnu", "smoke"], "no command 'rnu'; nearest: run"),
        (["run", "smok"], "no recipe 'smok'; nearest: smoke"),
        (["run", "smoke", "--site", "laptopp"], "nearest: laptop"),
        (["run", "smoke", "--set", "eval.limt=8"], "nearest: eval.limit"),
        (["run", "smoke", "--limit", "-1"], "--limit"),
        (["run", "smoke", "--corpus", "no/such.jsonl"], "no/such.jsonl"),
        (["resume", "no-such-run"], "no run"),
        (["verify", "--items", "x.jsonl"], "needs --published"),
        (["audit", "--published", "nope"], "nope"),
    ],
)
def test_wrong_usage_is_one_message_and_exit_2(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path, arguments: list[str], says: str
) -> None:
    if arguments[0] in ("run", "resume"):
        arguments = [*arguments, "--runs", str(tmp_path)]
    code, _, err = call(*arguments)
    assert code == 2
    assert says in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir()), "nothing was started"


def test_a_recipe_for_gpus_is_refused_without_them(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    code, _, err = call("run", "gemma-3-27b", "--runs", tmp_path)
    assert code == 2
    assert "32 GPUs" in err
    assert "mfo run smoke" in err


def test_dry_run_prints_the_whole_truth_and_writes_nothing(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    code, out, _ = call(
        "run", "gemma-3-27b", "--dry-run", "--runs", tmp_path, "--set", "train.learning_rate=2e-6"
    )
    assert code == 0
    assert not list(tmp_path.iterdir())
    printed = yaml.safe_load(out.partition("# --- train/axolotl.yaml\n")[2].partition("# ---")[0])
    assert printed["learning_rate"] == 2e-6
    assert printed["base_model"] == "google/gemma-3-27b-it"
    assert printed["datasets"][0]["path"] == "RUN/corpus/train.jsonl"
    assert "axolotl.cli.train RUN/train/axolotl.yaml" in out
    assert "NOT RUNNABLE HERE" in out


def test_a_dry_run_for_slurm_shows_its_scripts_with_and_without_an_account(
    call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SBATCH_ACCOUNT", raising=False)
    code, out, _ = call("run", "gemma-3-27b", "--site", "clariden", "--dry-run")
    assert code == 0
    assert "NOT RUNNABLE HERE" in out
    assert "export SBATCH_ACCOUNT=YOUR_PROJECT" in out
    assert out.count("#SBATCH --nodes=8") == 1
    assert "#SBATCH --account" not in out
    assert "account_required = true" in out, "run.toml holds the site as it is"
    monkeypatch.setenv("SBATCH_ACCOUNT", "g123")
    _, out, _ = call("run", "gemma-3-27b", "--site", "clariden", "--dry-run")
    assert out.count("#SBATCH --account=g123") == 4


def test_status_and_logs_read_what_is_on_disk(
    call: Callable[..., tuple[int, str, str]], new_run: Callable[..., Run]
) -> None:
    run = new_run()
    runs = run.path.parent
    assert call("resume", run.name, "--runs", runs)[0] == 2  # no verdict in a run of one stage
    assert json.loads(call("status", run.name, "--json", "--runs", runs)[1])["stages"] == {
        "corpus": "finished"
    }
    assert run.name in call("status", "--runs", runs)[1]
    assert "50 rows" in call("logs", run.name, "--runs", runs)[1]
    code, _, err = call("logs", run.name, "tarin", "--runs", runs)
    assert (code, "no stage 'tarin'" in err) == (2, True)


@pytest.fixture
def items(tmp_path: Path) -> tuple[Path, Path]:
    rows = [{"id": n, "gold": "A", "answer": "A" if n < 30 else "B"} for n in range(40)]
    (tmp_path / "ours_medqa.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (tmp_path / "table.toml").write_text(PUBLISHED)
    return tmp_path / "ours_medqa.jsonl", tmp_path / "table.toml"


def test_verify_items_judges_and_a_page_can_be_written(
    call: Callable[..., tuple[int, str, str]], items: tuple[Path, Path], tmp_path: Path
) -> None:
    file, table = items
    given = ["verify", "--items", file, "--published", table, "--model", "ours"]
    code, out, _ = call(*given, "--report", tmp_path / "page")
    assert code == 0
    assert "from the file's name" in out
    assert (tmp_path / "page" / "index.html").is_file()

    table.write_text(PUBLISHED.replace("75.0", "80.0"))
    code, out, _ = call(*given, "--json")
    assert code == 1
    assert json.loads(out)["verdict"] == "not reproduced"

    renamed = file.rename(tmp_path / "answers.jsonl")
    code, _, err = call(*[renamed if a == file else a for a in given])
    assert (code, "--benchmark" in err) == (2, True)
    code, _, _ = call(*[renamed if a == file else a for a in given], "--benchmark", "medqa")
    assert code == 1


def test_audit_exits_by_what_it_finds(
    call: Callable[..., tuple[int, str, str]], items: tuple[Path, Path]
) -> None:
    table = items[1]
    code, out, _ = call("audit", "--published", table, "--json")
    assert (code, json.loads(out)) == (0, {"findings": []})
    average = '\naverage = { value = 99.0, over = ["medqa"] }\n'
    table.write_text(PUBLISHED + average)
    code, out, _ = call("audit", "--published", table, "--json")
    assert code == 1
    assert any(f["certainty"] == "certain" for f in json.loads(out)["findings"])


def test_seeds_are_runs_that_were_checked_once_and_differ_in_their_seed(
    call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[Run] = []
    looked: list[object] = []
    monkeypatch.setattr(cli_run, "run_seeds", lambda runs, *_, **__: made.extend(runs))
    monkeypatch.setattr(choices, "check_inputs", lambda *_: looked.append(_))
    words = ("run", "smoke", "--seed", "7", "--seeds", "3", "--runs", tmp_path)
    assert call(*words)[0] == 0
    assert len(looked) == 1
    seeds = [[r.recipe.table(t)[k] for t, k in verify.SEEDS] for r in made]
    assert seeds == [[7, 7, 7], [8, 8, 8], [9, 9, 9]]
    first = made[0].spec["decisions"]
    assert set(made[1].spec["decisions"]) <= set(first), "only what was checked once is missing"
