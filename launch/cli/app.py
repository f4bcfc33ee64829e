"""The command `mfo`: its commands are imported when they are called, so that help is instant."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from kit.errors import KitError, nearest

EPILOG = """\b
Start here:
  mfo run smoke                the whole path in miniature, minutes on a laptop
  mfo audit                    the published table checked against itself
  mfo run gemma-3-27b --dry-run
\b
Exit codes: 0 all reproduced, 1 something not reproduced, 2 invalid or wrong
usage, 3 inconclusive, 130 interrupted.
\b
Tab completion: eval "$(_MFO_COMPLETE=bash_source mfo)"  (or zsh_source, fish_source)
"""


class Entry(NamedTuple):
    """Where a command is, in launch/cli/, and what `mfo --help` says of it."""

    module: str
    short_help: str


#: All commands, in the parts of the help page and in the order in which one meets them.
PARTS = {
    "Run": {
        "run": Entry("run", "Walk a recipe through all its stages to a verdict."),
        "resume": Entry("run", "Go on with RUN where it stopped."),
        "status": Entry("watch", "Say what RUN is doing; without RUN, list all runs."),
        "logs": Entry("watch", "Print the log of RUN's STAGE."),
        "compare": Entry("compare", "Compare two runs' losses, step by step."),
        "cancel": Entry("run", "End RUN's jobs; what is finished is kept."),
        "diagnose": Entry("watch", "Find the first cause of a failure."),
    },
    "Before a run": {
        "recipes": Entry("recipes", "List the recipes."),
        "recipe": Entry("recipes", "Show a recipe in full, or how two differ."),
        "plan": Entry("plan", "Say whether RECIPE fits, how long it takes and what it costs."),
        "site": Entry("sites", "Show a place to run, or check it from here."),
        "doctor": Entry("sites", "Look at a site before node-hours are spent."),
        "fetch": Entry("fetch", "Bring all that RECIPE reads to the cache."),
        "corpus": Entry("corpus", "The training data: pinned, and held against the benchmarks."),
        "image": Entry("images", "The images for ARM64 GH200 (and x86-64): pins, builds, proof."),
    },
    "Judge": {
        "verify": Entry("verify", "Hold scores against the published table."),
        "report": Entry("verify", "Draw RUN's page again from its verdict.json."),
        "audit": Entry("audit", "Check whether a published table agrees with itself."),
        "calibrate": Entry("audit", "Simulate the checker: how often does it err?"),
        "canary": Entry(
            "verify", "Freeze grades of RUN's judge, for later runs to be held against."
        ),
    },
    "Hand on": {
        "bundle": Entry("bundle", "Pack RUN's evidence into one file."),
        "check-bundle": Entry("bundle", "Verify a bundle, and derive its verdict again."),
        "card": Entry("publish", "Write the model card of RUN's weights."),
        "push": Entry("publish", "Upload RUN's weights and card to the hub."),
        "sync": Entry("publish", "Upload what RUN recorded for W&B offline."),
    },
}
ENTRIES = {name: entry for part in PARTS.values() for name, entry in part.items()}


class Kit(click.Group):
    """Commands in the order in which one meets them, imported when called; near misses named."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Give the names in the order of PARTS."""
        return list(ENTRIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the module of a command and give the command; None where there is none."""
        if cmd_name not in ENTRIES:
            return None
        module = import_module(f"launch.cli.{ENTRIES[cmd_name].module}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the commands in PARTS."""
        for title, entries in PARTS.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.short_help) for name, entry in entries.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Give the commands that begin like this, without importing them."""
        names = [name for name in ENTRIES if name.startswith(incomplete)]
        items = [CompletionItem(name, help=ENTRIES[name].short_help) for name in names]
        return [*items, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Name the nearest commands where one is unknown."""
        if args and args[0] not in ENTRIES and not args[0].startswith("-"):
            ctx.fail(f"there is no command {args[0]!r}; {nearest(args[0], ENTRIES)}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=Kit,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="mfo-kit", prog_name="mfo")
def mfo() -> None:
    """Reproduce the Fully Open Meditron models, and say honestly whether it worked.

    A recipe is what to reproduce, a site is where to run. A run walks through the stages
    corpus, train, evaluate and judge in one folder; its verdict is reproduced, not reproduced,
    inconclusive or invalid, for each published score.
    """


def main() -> None:
    """Run `mfo`; errors that a user can act on are printed without a stack trace.

    What a command returns is the exit code; None is 0.
    """
    try:
        sys.exit(mfo.main(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:  # mfo logs | head
        sys.stderr.close()
        sys.exit(0)
    except KitError as error:
        click.secho("error: ", fg="red", bold=True, nl=False, err=True)
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
