"""`mfo card` and `mfo push`: the new weights and their model card, for the hub."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.errors import KitError
from launch.files import read_json
from launch.run.folder import find
from launch.run.recipe import read_toml

if TYPE_CHECKING:
    from checks.card import Facts
    from launch.run.folder import Run

REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
#: Hyperparameters that the card names, where the training file has them.
SHOWN = ("num_epochs", "max_steps", "learning_rate", "lr_scheduler", "warmup_ratio", "optimizer",
         "weight_decay", "adam_beta2", "max_grad_norm", "sequence_len", "sample_packing", "bf16",
         "seed", "fsdp_version", "deepspeed")  # fmt: skip


def card(name: str | None, runs: Path, out: Path | None, licence: str | None) -> None:
    """Write a run's model card; to the terminal where ``out`` is "-"."""
    from checks.items import write_atomically

    run = find(name, runs)
    text = render(run, licence)
    if out is not None and str(out) == "-":
        click.echo(text, nl=False)
        return
    target = out or run.path / "README.md"
    try:
        write_atomically(target, text)
    except OSError as error:
        raise KitError(f"the card cannot be written: {error.strerror}", where=str(target)) from None
    click.echo(f"card: {target}\nnext:  mfo push {run.name} --repo ORG/NAME --dry-run")


def render(run: Run, licence: str | None, repo: str | None = None) -> str:
    """Give a run's model card.

    Args:
        repo: where the weights go on the hub; None for a card in the run's folder.

    Raises:
        KitError: the run trained nothing, or has no verdict yet.
    """
    from checks.card import model_card
    from checks.verdict import read_verdict

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
    from checks.card import Facts

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


def push(
    name: str | None, runs: Path, repo: str, *, private: bool, dry: bool, licence: str | None
) -> None:
    """Upload a run's weights with their card, in one commit.

    Raises:
        KitError: the weights are not whole, there is no token, or the hub refuses.
    """
    run = find(name, runs)
    text = render(run, licence, repo)
    files = weights(run)
    if not REPO.match(repo):
        raise KitError(
            f"--repo takes ORG/NAME, not {repo!r}", fix="--repo my-organisation/my-model"
        )
    total = sum(path.stat().st_size for path in files)
    click.echo(f"{'would upload' if dry else 'uploading'} to {repo}"
               f"{' (private)' if private else ''}: {len(files)} files, {total:,} bytes, and "
               "README.md")  # fmt: skip
    if dry:
        for path in files:
            click.echo(f"  {path.stat().st_size:>16,}  {path.name}")
        click.echo(f"\n{text}\nnext:  mfo push {run.name} --repo {repo}{' --private' * private}")
        return
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token:
        raise KitError(
            "there is no token for the hub in the environment",
            where="HF_TOKEN",
            cause="a token that was saved by a login is not used: what is uploaded is deliberate",
            fix="export HF_TOKEN=… with write access to the organisation",
        )
    click.echo(f"done: {_upload(repo, files, text, token, private, run.name)}")


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
    import httpx
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

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
            cause={401: "the token is not valid", 403: "the token may not write there",
                   404: "no such organisation, or not visible to this token"}.get(status, ""),
            fix="try again: files that are there already are not sent twice",
        ) from None  # fmt: skip
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
