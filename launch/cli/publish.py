"""`mfo card`, `mfo push`, `mfo sync`: weights and card for the hub, curves for W&B."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import httpx
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from checks.card import Facts, model_card
from checks.verdict import read_verdict
from kit.errors import KitError
from kit.files import os_errors, read_json, read_toml, write_text
from launch.cli.options import RUN, RUNS
from launch.run import tracking
from launch.run.folder import Run, find

LICENCE = click.option(
    "--licence",
    metavar="ID",
    help="Of the weights, as the hub calls it; the base model's without it.",
)
REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
#: Hyperparameters that the card names, where the training file has them.
SHOWN = (
    "num_epochs",
    "max_steps",
    "learning_rate",
    "lr_scheduler",
    "warmup_ratio",
    "optimizer",
    "weight_decay",
    "adam_beta2",
    "max_grad_norm",
    "sequence_len",
    "sample_packing",
    "bf16",
    "seed",
    "fsdp_version",
    "deepspeed",
)
WANDB = (sys.executable, "-m", "wandb")
DEFAULT_SERVER = "https://api.wandb.ai"
_REACH_S = 10.0


@click.command()
@RUN
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="The file, or - for the terminal; RUN/README.md without it.",
)
@LICENCE
@RUNS
def card(run: str | None, out: Path | None, licence: str | None, runs: Path) -> None:
    """Write the model card of RUN's weights.

    The hub's README.md, with the verdict's numbers.
    """
    found = find(run, runs)
    text = render(found, licence)
    if out is not None and str(out) == "-":
        click.echo(text, nl=False)
        return
    target = out or found.path / "README.md"
    with os_errors("the card cannot be written", target, fix="--out FILE with another place"):
        write_text(target, text, parents=True)
    click.echo(f"card: {target}\nnext:  mfo push {found.name} --repo ORG/NAME --dry-run")


def render(run: Run, licence: str | None, repo: str | None = None) -> str:
    """Give a run's model card.

    Args:
        repo: where the weights go on the hub; None for a card in the run's folder.

    Raises:
        KitError: the run trained nothing, or has no verdict yet.
    """
    _trained(run)
    if not run.verdict.is_file():
        raise KitError(
            f"{run.name} has no verdict yet", where=str(run.path), fix=f"mfo resume {run.name}"
        )
    known = facts(run, licence)
    if repo is not None:
        known = replace(known, place=repo)
    return model_card(read_verdict(run.verdict), known)


def facts(run: Run, licence: str | None = None) -> Facts:
    """Gather what a card says beside the verdict."""
    model, train = run.recipe.table("model"), run.recipe.table("train")
    local = Path(str(model.get("base", ""))).expanduser().is_dir()
    hub = model.get("source") == "hub" and not local
    corpus = _corpus(Path(run.recipe.table("corpus")["sources"]))
    sealed, site = run.facts("corpus"), run.site
    shape = run.recipe.table("shape")
    if model.get("source") == "random":
        words = f"randomly initialised {model.get('architecture', 'weights')}"
    else:
        words = "a base model from a local folder"
    recipe = {
        "Kit's recipe": " on top of ".join(reversed(run.recipe.lineage)),
        "Packed sequences an optimiser step": shape.get("global_batch"),
        **{key: train[key] for key in SHOWN if train.get(key) is not None},
    }
    if run.recipe.settings:
        recipe["Changed by the user"] = ", ".join(
            f"{k}={v}" for k, v in run.recipe.settings.items()
        )
    return Facts(
        title=run.recipe.title,
        # The recipe's licence is that of its base on the hub, and says nothing about another base.
        licence=licence or (str(model.get("licence", "unknown")) if hub else "unknown"),
        base_model=str(model["base"]) if hub else None,
        base_revision=str(model.get("revision", "")) if hub else "",
        base_words=words,
        datasets=tuple(filter(None, [corpus.get("repository")])),
        data_licence=str(corpus.get("licence", "")),
        data={
            "Data set": corpus.get("repository")
            or Path(run.recipe.table("corpus")["sources"]).name,
            "Revision": corpus.get("revision"),
            "Licence": corpus.get("licence"),
            "Rows trained on": f"{sealed['rows']:,}" if sealed.get("rows") is not None else None,
            "sha256 of the rows": sealed.get("sha256"),
        },
        recipe=recipe,
        hardware={
            "Site": site.title,
            "Nodes": site.nodes,
            "Accelerators on each": site.gpus_per_node or "none, trained on the CPU",
            "Ranks": site.world_size,
        },
    )


def _corpus(path: Path) -> dict[str, str]:
    """Read what a corpus file says about itself; rows of the user's own say nothing."""
    if path.suffix != ".toml" or not path.is_file():
        return {}
    table = read_toml(path, "the corpus file").get("corpus", {})
    return {k: str(v) for k, v in table.items()} if isinstance(table, dict) else {}


def _trained(run: Run) -> None:
    if "train" not in run.stages:
        raise KitError(
            f"{run.name} trained nothing: it scored weights that are somebody's already",
            where=str(run.path),
            fix="a card is for the run that made the weights: mfo status lists them",
        )


@click.command()
@RUN
@click.option("--repo", required=True, metavar="ORG/NAME", help="The repository on the hub.")
@click.option("--private", is_flag=True, help="Make it private where it is new.")
@click.option("--dry-run", is_flag=True, help="Print what would be uploaded; upload nothing.")
@LICENCE
@RUNS
def push(
    run: str | None, repo: str, private: bool, dry_run: bool, licence: str | None, runs: Path
) -> None:
    """Upload RUN's weights and card to the hub.

    In one commit. The token is read from HF_TOKEN and from nowhere else; HF_ENDPOINT names another
    hub.
    """
    found = find(run, runs)
    text = render(found, licence, repo)
    files = weights(found)
    if not REPO.match(repo):
        raise KitError(
            f"--repo takes ORG/NAME, not {repo!r}", fix="--repo my-organisation/my-model"
        )
    total = sum(path.stat().st_size for path in files)
    click.echo(
        f"{'would upload' if dry_run else 'uploading'} to {repo}"
        f"{' (private)' if private else ''}: {len(files)} files, {total:,} bytes, and "
        "README.md"
    )
    if dry_run:
        for path in files:
            click.echo(f"  {path.stat().st_size:>16,}  {path.name}")
        click.echo(f"\n{text}\nnext:  mfo push {found.name} --repo {repo}{' --private' * private}")
        return
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token:
        raise KitError(
            "there is no token for the hub in the environment",
            where="HF_TOKEN",
            cause="a token that was saved by a login is not used: what is uploaded is deliberate",
            fix="export HF_TOKEN=… with write access to the organisation",
        )
    click.echo(f"done: {_upload(repo, files, text, token, private, found.name)}")


def weights(run: Run) -> list[Path]:
    """Give the files of the trained model.

    Raises:
        KitError: they are not what the train stage left.
    """
    inputs = read_json(run.folder("train") / "inputs.json")
    if (
        inputs is None
        or run.status("train")["state"] != "finished"
        or not run.whole("train", inputs)
    ):
        raise KitError(
            f"the weights of {run.name} are not whole: the train stage is not finished, or a file "
            "was changed since",
            where=str(run.folder("train") / "model"),
            fix=f"mfo resume {run.name}",
        )
    sealed = run.facts("train")["files"]
    found = [run.path / name for name in sealed if Path(name).parent == Path("train/model")]
    return sorted(path for path in found if path.name != "README.md")


def _upload(repo: str, files: list[Path], text: str, token: str, private: bool, name: str) -> str:

    # Given here and not left to the library: it would look for a saved token too.
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=token)
    operations: list[Any] = [
        CommitOperationAdd(path_in_repo=path.name, path_or_fileobj=path) for path in files
    ]
    operations.append(CommitOperationAdd("README.md", text.encode()))
    try:
        api.create_repo(repo, private=private, exist_ok=True, repo_type="model")
        if private and not api.model_info(repo).private:
            # The hub does not change a repository that exists, so nothing private may go there.
            raise KitError(
                f"{repo} exists and is public, and --private was asked for",
                where=repo,
                fix="make it private on the hub first, or give another --repo",
            )
        done = api.create_commit(
            repo, operations, commit_message=f"Weights and model card of {name}", repo_type="model"
        )
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        raise KitError(
            f"the hub refused: {_first_line(error)}",
            where=repo,
            cause={
                401: "the token is not valid",
                403: "the token may not write there",
                404: "no such organisation, or not visible to this token",
            }.get(status, ""),
            fix="try again: files that are there already are not sent twice",
        ) from None
    except (httpx.HTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
        raise KitError(
            f"the upload did not finish: {_first_line(error)}",
            where=api.endpoint,
            cause="no network, HF_HUB_OFFLINE, or an answer that is not the hub's",
            fix="try again: files that are there already are not sent twice",
        ) from None
    return str(done.commit_url)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


@click.command()
@click.argument("names", nargs=-1, metavar="[RUN]...")
@click.option("--again", is_flag=True, help="Also what was uploaded before.")
@RUNS
def sync(names: tuple[str, ...], again: bool, runs: Path) -> int:
    """Upload what RUN recorded for W&B offline.

    The latest run without a name. The key is read from WANDB_API_KEY or ~/.netrc; WANDB_BASE_URL
    names another server.
    """
    found = [find(name, runs) for name in names or (None,)]
    todo = [(run, folders) for run in found if (folders := records(run, again=again))]
    if not todo:
        click.echo("nothing to upload: no offline record that was not uploaded before")
        return 0
    _check()
    for run, folders in todo:
        click.echo(f"{run.name}: {len(folders)} records, as W&B run {tracking.run_id(run.name)}")
        words = [
            *WANDB,
            "sync",
            "--yes",
            "--id",
            tracking.run_id(run.name),
            "-n",
            "1",
            *(["--include-synced"] if again else []),
            *map(str, folders),
        ]
        # The offline mode that made these records must not keep them from leaving now.
        env = {k: v for k, v in os.environ.items() if k != "WANDB_MODE"}
        try:
            code = subprocess.run(words, env=env, stdin=subprocess.DEVNULL).returncode
        except OSError as error:
            raise KitError(f"W&B's program does not start: {error}", fix="make setup") from None
        left = records(run)
        if code or left:
            raise KitError(
                f"W&B took {len(folders) - len(left)} of {len(folders)} records",
                where=str(run.path / "wandb"),
                cause=f"its program ended with {code}; what it said stands above",
                fix=f"mfo sync {run.name}, which sends only what is missing",
            )
    click.echo(f"next:  mfo verify {todo[-1][0].name}")
    return 0


def records(run: Run, *, again: bool = False) -> list[Path]:
    """Folders of a run's offline records that were not uploaded yet, the oldest first.

    Args:
        again: those that were uploaded before as well.
    """
    found = sorted((run.path / "wandb").glob("offline-run-*"))
    return [p for p in found if list(p.glob("*.wandb")) and (again or not list(p.glob("*.synced")))]


def _check() -> None:
    if not tracking.has_key():
        raise KitError(
            "there is no key for W&B",
            where="WANDB_API_KEY",
            fix="export WANDB_API_KEY=…, or wandb login; then mfo sync again",
        )
    # W&B's program would try again for hours, silently.
    server = urlsplit(os.environ.get("WANDB_BASE_URL") or DEFAULT_SERVER)
    port = server.port or (80 if server.scheme == "http" else 443)
    try:
        socket.create_connection((server.hostname or "", port), timeout=_REACH_S).close()
    except OSError as error:
        raise KitError(
            f"W&B's server cannot be reached: {error.strerror or error}",
            where=f"{server.hostname}:{port}",
            cause="this machine has no way out (a compute node?), or WANDB_BASE_URL is wrong",
            fix="mfo sync on a machine with a network; a copy of the run's folder is enough",
        ) from None
