"""What is shown while stages run: bars on a terminal, plain lines in a log file."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kit.files import read_json
from launch.slurm.pipeline import Observer
from launch.slurm.state import training
from launch.stages.table import STAGES

if TYPE_CHECKING:
    from rich.console import Console

    from launch.run.folder import Run

#: Between two lines of progress where the output is not a terminal, in seconds.
QUIET_S = 30.0


class Bars(Observer):
    """One line a stage, with a bar for the running one.

    Args:
        run: whose stages are walked.
        console: where to show them; bars only if it is a terminal.
    """

    def __init__(self, run: Run, console: Console) -> None:
        self.run, self.console = run, console
        self.begun = time.monotonic()

    def skipped(self, name: str) -> None:
        """Tell that a stage was found whole."""
        self.console.print(f"[green]✓[/] {name:<9} already done")

    def started(self, name: str) -> None:
        """Note the time."""
        self.begun = time.monotonic()
        if not self.console.is_terminal:
            self.console.print(f"… {name:<9} {STAGES[name].says}")

    def ended(self, name: str, state: str) -> None:
        """Tell how a stage ended, and how long it took."""
        mark = {"finished": "[green]✓[/]", "failed": "[red]✗[/]"}.get(state, "[yellow]■[/]")
        more = self._result(name) if state == "finished" else state
        self.console.print(f"{mark} {name:<9} {_clock(time.monotonic() - self.begun)}  {more}")

    def wait(self, name: str, done: Callable[[], bool]) -> None:
        """Show progress until the job is done."""
        if not self.console.is_terminal:
            self._wait_quietly(name, done)
            return
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.fields[stage]:<9}"), TimeElapsedColumn(),
                   BarColumn(bar_width=28), TextColumn("{task.description}"))  # fmt: skip
        with Progress(*columns, console=self.console, transient=True) as bars:
            task = bars.add_task(STAGES[name].says, total=None, stage=name)
            while not done():
                at, of, words = self._now(name)
                bars.update(task, completed=at, total=of, description=words)
                time.sleep(0.25)

    def _wait_quietly(self, name: str, done: Callable[[], bool]) -> None:
        last = time.monotonic()
        while not done():
            if time.monotonic() - last > QUIET_S:
                last = time.monotonic()
                self.console.print(f"  {name:<9} {self._now(name)[2]}")
            time.sleep(0.25)

    def _now(self, name: str) -> tuple[int, int | None, str]:
        if name == "train":
            at = training(self.run)
            if at:
                return at.step, at.of, at.words()
            return 0, None, "starting Axolotl (imports, tokenising, packing)"
        if name == "evaluate":
            now = read_json(self.run.folder(name) / "progress.json")
            if now:
                words = now.get("words") or f"scoring the {now['model']} model"
                return now["done"], now["of"] if "words" in now else None, words
        return 0, None, STAGES[name].says

    def _result(self, name: str) -> str:
        facts = self.run.facts(name)
        if name == "corpus":
            return f"{facts['rows']:,} rows"
        if name == "train":
            at = training(self.run)
            return f"{at.words() if at else ''}  weights {facts['weights'][:12]}"
        if name == "evaluate":
            return ", ".join(_share(n, s) for n, s in facts["summary"].items())
        return str(facts.get("verdict", ""))


def _share(name: str, numbers: dict[str, Any]) -> str:
    value = numbers.get("score", numbers.get("accuracy"))  # as summaries called it before
    return f"{name} —" if value is None else f"{name} {value:.1%}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
