"""Bring a run to its end before somebody's eyes, and show its verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kit.printing import emit

if TYPE_CHECKING:
    from rich.console import Console

    from launch.run.folder import Run

INTERRUPTED = 130


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    # Run names and paths are data: nothing in them is markup or worth colouring.
    return Console(stderr=stderr, highlight=False)


def walk_and_show(found: Run, as_json: bool, *, detach: bool = False) -> int:
    """Walk a run's stages, then show its verdict; gives the exit code.

    Args:
        detach: on Slurm, submit and return.
    """
    from launch.run.folder import held
    from launch.slurm import pipeline
    from launch.slurm.progress import Bars

    console = _console(stderr=as_json)
    console.print(f"[bold]{found.recipe.title}[/] · {found.path}", soft_wrap=True)
    for decision in found.spec.get("decisions", []):
        console.print(f"  {decision}", style="dim", markup=False, soft_wrap=True)
    if found.site.scheduler == "slurm":
        from launch.cli.slurm_commands import submit_and_show

        code = submit_and_show(found, console, detach=detach)
        return show(found, as_json) if code is None else code
    with held(found):
        _warn_if_changed(found, console)
        try:
            pipeline.walk(found, Bars(found, console))
        except KeyboardInterrupt:
            console.print(
                f"interrupted; what was finished is kept.\nnext:  mfo resume {found.name}",
                soft_wrap=True,
            )
            return INTERRUPTED
    return show(found, as_json)


def _warn_if_changed(found: Run, console: Console) -> None:
    from launch.run.folder import kit_state

    was, now = found.spec.get("kit", {}), kit_state()
    if was.get("commit") != now.get("commit"):
        console.print(
            f"[yellow]note:[/] the run was made at kit commit {str(was.get('commit'))[:12]}, this "
            f"is {str(now.get('commit'))[:12]}; finished stages are kept"
        )


def show(found: Run, as_json: bool) -> int:
    """Print a finished run's verdict and where its page is."""
    from checks.terminal import print_verdict
    from checks.verdict import read_verdict

    verdict = read_verdict(found.verdict)
    if as_json:
        emit(verdict)
    else:
        print_verdict(verdict, _console())
        _console().print(f"report: {found.report}", soft_wrap=True)
    return int(verdict["exit_code"])
