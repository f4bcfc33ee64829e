"""The words for what leaves this machine: evidence, model card, weights."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from launch.cli.options import JSON, RUN, RUNS


@click.command()
@RUN
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False),
              help="The file; RUN.tar.gz here without it.")  # fmt: skip
@RUNS
@JSON
def bundle(run: str | None, out: Path | None, runs: Path, as_json: bool) -> None:
    """Pack RUN's evidence into one file.

    Verdict, items, recipe, logs and versions. Secrets are cut out. No weights and no corpus, but
    questions and responses: mind their licence.
    """
    from launch.cli import evidence

    sys.exit(evidence.bundle(run, runs, out, as_json))


@click.command("check-bundle")
@click.argument("file", type=click.Path(path_type=Path))
@JSON
def check_bundle(file: Path, as_json: bool) -> None:
    """Verify a bundle, and derive its verdict again.

    Exits 0 if the verdict inside follows from the items, 1 if it does not, 2 if it is damaged.
    """
    from launch.cli import evidence

    sys.exit(evidence.check(file, as_json))


LICENCE = click.option("--licence", metavar="ID", help="Of the weights, as the hub calls it; the "
                       "base model's without it.")  # fmt: skip


@click.command()
@RUN
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
              help="The file, or - for the terminal; RUN/README.md without it.")  # fmt: skip
@LICENCE
@RUNS
def card(run: str | None, out: Path | None, licence: str | None, runs: Path) -> None:
    """Write the model card of RUN's weights.

    The hub's README.md, with the verdict's numbers.
    """
    from launch.cli import publish

    publish.card(run, runs, out, licence)


@click.command()
@RUN
@click.option("--repo", required=True, metavar="ORG/NAME", help="The repository on the hub.")
@click.option("--private", is_flag=True, help="Make it private where it is new.")
@click.option("--dry-run", is_flag=True, help="Print what would be uploaded; upload nothing.")
@LICENCE
@RUNS
def push(run: str | None, repo: str, private: bool, dry_run: bool, licence: str | None,
         runs: Path) -> None:  # fmt: skip
    """Upload RUN's weights and card to the hub.

    In one commit. The token is read from HF_TOKEN and from nowhere else; HF_ENDPOINT names another
    hub.
    """
    from launch.cli import publish

    publish.push(run, runs, repo, private=private, dry=dry_run, licence=licence)


@click.command()
@click.argument("names", nargs=-1, metavar="[RUN]...")
@click.option("--again", is_flag=True, help="Also what was uploaded before.")
@RUNS
def sync(names: tuple[str, ...], again: bool, runs: Path) -> None:
    """Upload what RUN recorded for W&B offline.

    The latest run without a name. The key is read from WANDB_API_KEY or ~/.netrc; WANDB_BASE_URL
    names another server.
    """
    from launch.cli import sync as uploads
    from launch.run.folder import find

    sys.exit(uploads.sync([find(name, runs) for name in names or (None,)], again=again))
