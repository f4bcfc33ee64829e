"""The command `mfo`. Frameworks are imported inside the commands that need them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from launch.corpus_cli import corpus

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
RUNS = click.option(
    "--runs", type=click.Path(path_type=Path, file_okay=False), default=Path("runs"),
    envvar="MFO_RUNS", show_default=True, help="Folder that holds the runs (MFO_RUNS).",
)  # fmt: skip
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


class Kit(click.Group):
    """Commands in the order in which one meets them, and near misses named."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Keep the order of definition."""
        return list(self.commands)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Name the nearest commands where one is unknown."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            from launch.errors import nearest

            ctx.fail(f"there is no command {args[0]!r}; {nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


def _complete_recipes(ctx: Any, param: Any, incomplete: str) -> list[str]:  # noqa: ARG001
    from launch.recipe import known_recipes

    return [n for n in known_recipes() if n.startswith(incomplete)]


def _complete_sites(ctx: Any, param: Any, incomplete: str) -> list[str]:  # noqa: ARG001
    from launch.site import known_sites

    return [n for n in known_sites() if n.startswith(incomplete)]


def _complete_runs(ctx: Any, param: Any, incomplete: str) -> list[str]:  # noqa: ARG001
    runs = (ctx.params.get("runs") or Path("runs")).glob("*/run.toml")
    return sorted(p.parent.name for p in runs if p.parent.name.startswith(incomplete))


RUN = click.argument("run", required=False, shell_complete=_complete_runs)


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
        from launch.errors import ACTIONABLE

        if not isinstance(error, ACTIONABLE):
            raise
        click.secho("error: ", fg="red", bold=True, nl=False, err=True)
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)


@mfo.command()
@click.argument("recipe", shell_complete=_complete_recipes)
@click.option("--site", default="laptop", show_default=True, shell_complete=_complete_sites,
              help="Where to run.")  # fmt: skip
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
              help="Any recipe value, e.g. train.learning_rate=0. May be given again.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), help="Seed of initialisation, data order and "
              "training.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(min=1), default=1, help="So many runs, with seeds "
              "that follow each other; on Slurm side by side.")  # fmt: skip
@click.option("--corpus", type=click.Path(path_type=Path, exists=True),
              help="Train on this .toml, .jsonl or .parquet instead.")  # fmt: skip
@click.option("--benchmarks", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Score the benchmark files in this folder instead.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=0), help="Items per benchmark, drawn at random.")
@click.option("--nodes", type=click.IntRange(min=1), help="Nodes of the training stage (Slurm).")
@click.option("--detach", is_flag=True, help="On Slurm: submit and return, do not watch.")
@click.option("--dry-run", is_flag=True, help="Print what would be run, exactly; run nothing.")
@RUNS
@JSON
def run(recipe: str, site: str, settings: tuple[str, ...], dry_run: bool, runs: Path,
        as_json: bool, nodes: int | None, detach: bool, seeds: int,
        **shorthands: Any) -> None:  # fmt: skip
    """Walk a recipe through all its stages to a verdict.

    \b
    mfo run smoke                                the miniature, on this machine
    mfo run smoke --seed 7                       the same with another seed
    mfo run smoke --set train.learning_rate=0    a run that must not reproduce
    """
    from launch import commands

    sys.exit(commands.run(recipe, site, settings, shorthands, dry_run, runs, as_json,
                          nodes=nodes, detach=detach, seeds=seeds))  # fmt: skip


@mfo.command()
@RUN
@click.option("--detach", is_flag=True, help="On Slurm: submit and return, do not watch.")
@RUNS
@JSON
def resume(run: str | None, runs: Path, as_json: bool, detach: bool) -> None:
    """Go on with RUN (a name or folder; the latest without one) where it stopped.

    Stages whose inputs are the same and whose outputs are whole are not run again; training
    goes on from its last whole checkpoint.
    """
    from launch import commands
    from launch.run import find

    sys.exit(commands.walk_and_show(find(run, runs), as_json, detach=detach))


@mfo.command()
@RUN
@RUNS
@JSON
def status(run: str | None, runs: Path, as_json: bool) -> None:
    """Say what RUN is doing; without RUN, list all runs."""
    from launch import watch_commands

    watch_commands.status(run, runs, as_json)


@mfo.command()
@RUN
@click.argument("stage", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on printing as the log grows.")
@click.option("--rank", type=click.IntRange(min=0), help="Of training on Slurm, this rank alone.")
@RUNS
def logs(run: str | None, stage: str | None, follow: bool, rank: int | None, runs: Path) -> None:
    """Print the log of RUN's STAGE; without STAGE, of the one that ran last."""
    from launch import watch_commands

    watch_commands.logs(run, stage, follow, runs, rank)


@mfo.command()
@RUN
@RUNS
def cancel(run: str | None, runs: Path) -> None:
    """End RUN's jobs; what is finished is kept, and `mfo resume` goes on."""
    from launch import slurm_commands
    from launch.run import find

    sys.exit(slurm_commands.cancel(find(run, runs)))


@mfo.command()
@click.argument("what", required=False, metavar="[RUN|LOG]")
@RUNS
@JSON
def diagnose(what: str | None, runs: Path, as_json: bool) -> None:
    """Find the first cause of a failure in RUN's logs, or in a log file; exits 3 if none."""
    from launch import diagnose_command

    sys.exit(diagnose_command.diagnose(what, runs, as_json))


@mfo.command()
@click.option("--site", default="laptop", show_default=True, shell_complete=_complete_sites,
              help="Place to look at.")  # fmt: skip
@click.option("--nodes", type=click.IntRange(min=1), default=2, show_default=True,
              help="On Slurm: how many nodes the short job looks at.")  # fmt: skip
@JSON
def doctor(site: str, nodes: int, as_json: bool) -> None:
    """Look at a site before node-hours are spent there: here, and on its nodes."""
    from launch.preflight import doctor as checks

    sys.exit(checks.run(site, nodes, as_json))


@mfo.group()
def site() -> None:
    """Places to run: what a profile says, and whether it holds here."""


@site.command("show")
@click.argument("name", required=False, shell_complete=_complete_sites)
@JSON
def site_show(name: str | None, as_json: bool) -> None:
    """Print the profile NAME and what each setting rests on; without NAME, list them."""
    from launch import site_commands

    site_commands.show(name, as_json)


@site.command("check")
@click.argument("name", shell_complete=_complete_sites)
def site_check(name: str) -> None:
    """Hold the profile NAME against this machine; exits 1 where something is wrong."""
    from launch import site_commands

    sys.exit(site_commands.check(name))


mfo.add_command(corpus)


@mfo.command()
@click.argument("what", nargs=-1, metavar="[RUN|WEIGHTS]...")
@click.option("--items", type=click.Path(path_type=Path), multiple=True,
              help="Scored items (file or folder) instead of a run; may be repeated.")  # fmt: skip
@click.option("--reference-items", type=click.Path(path_type=Path), multiple=True,
              help="With --items: the released weights' items, from the same harness.")  # fmt: skip
@click.option("--benchmark", multiple=True, help="Benchmark of an --items file that does not say; "
              "one for each such file.")  # fmt: skip
@click.option("--published", help="Table to hold them against: a file, or a built-in name.")
@click.option("--model", help="Row of the table.")
@click.option("--tier", type=click.Choice(["weights", "retrain"]),
              help="weights: the same weights scored again; retrain: trained again.")  # fmt: skip
@click.option("--allow-partial", is_flag=True, help="Judge fewer items than the table's.")
@click.option("--recipe", help="Score WEIGHTS by this recipe's protocol.")
@click.option("--site", default="laptop", show_default=True, help="Where to score WEIGHTS.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="With --recipe.")
@click.option("--report", "report_to", type=click.Path(path_type=Path), help="Write the page here.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the verdict as Markdown.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write it as JUnit XML, for CI.")
@RUNS
@JSON
def verify(what: tuple[str, ...], runs: Path, as_json: bool, **given: Any) -> None:
    """Hold scores against the published table.

    \b
    mfo verify RUN                                           derive a run's verdict again
    mfo verify RUN RUN RUN                                   several seeds of one recipe together
    mfo verify WEIGHTS --recipe gemma-3-27b --site SITE      score given weights, then judge
    mfo verify --items FILE --published FILE --model NAME    judge items that you have
    mfo verify --items OURS --reference-items RELEASED …     evaluation drift and training drift

    --tier is weights for --items, and retrain with --reference-items and for runs.
    """
    from launch import verdict_commands

    sys.exit(verdict_commands.verify(what, runs, as_json, given))


@mfo.command()
@RUN
@RUNS
def report(run: str | None, runs: Path) -> None:
    """Draw RUN's page again from its verdict.json."""
    from launch import verdict_commands

    verdict_commands.report(run, runs)


@mfo.command()
@click.option("--published", default="fully-open-meditron", show_default=True,
              help="Table to check: a file, or a built-in name.")  # fmt: skip
@JSON
def audit(published: str, as_json: bool) -> None:
    """Check whether a published table agrees with itself. Seconds, no GPU.

    Exits 1 if a certain error stands in the table, 0 if none.
    """
    from launch import verdict_commands

    sys.exit(verdict_commands.audit(published, as_json))


@mfo.command()
@click.option("--published", default="fully-open-meditron", show_default=True,
              help="Table: a file, or a built-in name.")  # fmt: skip
@click.option("--model", help="Its row; Gemma-3-27B-MeditronFO for the built-in table.")
@click.option("--tier", type=click.Choice(["weights", "retrain"]), default="retrain",
              show_default=True, help="Which rule.")  # fmt: skip
@click.option("--runs", type=click.IntRange(min=100), default=20_000, show_default=True,
              help="Evaluations simulated for each fault.")  # fmt: skip
@click.option("--markdown", is_flag=True, help="Print a Markdown table.")
@JSON
def calibrate(published: str, model: str | None, tier: str, runs: int, markdown: bool,
              as_json: bool) -> None:  # fmt: skip
    """Simulate the checker: how often it errs where the truth is known. Seconds, no GPU.

    For each benchmark: false alarms when nothing is wrong, and how often planted faults are seen.
    """
    from launch import verdict_commands

    verdict_commands.calibrate(published, model, tier, runs, as_json, markdown)


@mfo.command()
@RUN
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False),
              help="The file; RUN.tar.gz here without it.")  # fmt: skip
@RUNS
@JSON
def bundle(run: str | None, out: Path | None, runs: Path, as_json: bool) -> None:
    """Pack RUN's evidence into one file: verdict, items, recipe, logs, versions.

    Secrets are cut out. No weights and no corpus, but questions and responses: mind their licence.
    """
    from launch import evidence

    sys.exit(evidence.bundle(run, runs, out, as_json))


@mfo.command("check-bundle")
@click.argument("file", type=click.Path(path_type=Path))
@JSON
def check_bundle(file: Path, as_json: bool) -> None:
    """Verify a bundle, and derive its verdict again from its items.

    Exits 0 if the verdict inside follows from the items, 1 if it does not, 2 if it is damaged.
    """
    from launch import evidence

    sys.exit(evidence.check(file, as_json))


LICENCE = click.option("--licence", metavar="ID", help="Of the weights, as the hub calls it; the "
                       "base model's without it.")  # fmt: skip


@mfo.command()
@RUN
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
              help="The file, or - for the terminal; RUN/README.md without it.")  # fmt: skip
@LICENCE
@RUNS
def card(run: str | None, out: Path | None, licence: str | None, runs: Path) -> None:
    """Write the model card of RUN's weights: the hub's README.md, with the verdict's numbers."""
    from launch import publish

    publish.card(run, runs, out, licence)


@mfo.command()
@RUN
@click.option("--repo", required=True, metavar="ORG/NAME", help="The repository on the hub.")
@click.option("--private", is_flag=True, help="Make it private where it is new.")
@click.option("--dry-run", is_flag=True, help="Print what would be uploaded; upload nothing.")
@LICENCE
@RUNS
def push(run: str | None, repo: str, private: bool, dry_run: bool, licence: str | None,
         runs: Path) -> None:  # fmt: skip
    """Upload RUN's weights and their model card to the hub, in one commit.

    The token is read from HF_TOKEN and from nowhere else; HF_ENDPOINT names another hub.
    """
    from launch import publish

    publish.push(run, runs, repo, private=private, dry=dry_run, licence=licence)


def emit(value: object) -> None:
    """Print JSON for programs."""
    click.echo(json.dumps(value, indent=1, ensure_ascii=False, default=str))


__all__ = ["emit", "main", "mfo"]
