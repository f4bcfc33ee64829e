"""The command `mfo`. Frameworks are imported inside the commands that need them."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import click

from launch.cli import words_corpus as corpus
from launch.cli import words_fetching as fetching
from launch.cli import words_images as images
from launch.cli import words_publishing as publishing
from launch.cli import words_recipes as recipes
from launch.cli import words_runs as runs
from launch.cli import words_sites as sites
from launch.cli import words_verdicts as verdicts

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


#: All commands, in the parts of the help page and in the order in which one meets them.
PARTS: dict[str, tuple[click.Command, ...]] = {
    "Run": (runs.run, runs.resume, runs.status, runs.logs, runs.compare, runs.cancel,
            runs.diagnose),
    "Before a run": (recipes.recipes, recipes.recipe, recipes.plan, sites.site, sites.doctor,
                     fetching.fetch, corpus.corpus, images.image),
    "Judge": (verdicts.verify, verdicts.report, verdicts.audit, verdicts.calibrate,
              verdicts.canary),
    "Hand on": (publishing.bundle, publishing.check_bundle, publishing.card, publishing.push,
                publishing.sync),
}  # fmt: skip


class Kit(click.Group):
    """Commands in the order in which one meets them, and near misses named."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the commands in PARTS."""
        for title, commands in PARTS.items():
            with formatter.section(title):
                formatter.write_dl([(str(c.name), c.get_short_help_str(64)) for c in commands])

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Keep the order of definition."""
        return list(self.commands)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Name the nearest commands where one is unknown."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            from kit.errors import nearest

            ctx.fail(f"there is no command {args[0]!r}; {nearest(args[0], self.commands)}")
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
    """Run `mfo`; errors that a user can act on are printed without a stack trace."""
    try:
        mfo.main(standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:  # mfo logs | head
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        from kit.errors import KitError

        if not isinstance(error, KitError):
            raise
        click.secho("error: ", fg="red", bold=True, nl=False, err=True)
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)


for command in itertools.chain(*PARTS.values()):
    mfo.add_command(command)
