"""The base model of a recipe: what `mfo fetch` brought, a local folder, or built from a config.

Weights are data: nothing that a download brings is executed, and only safetensors are accepted.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kit.errors import KitError
from kit.files import digest, sha256_file
from launch.inputs.dims import has_template
from launch.inputs.hub import MODEL_FILES, fetch_command, only_safetensors
from launch.run.folder import versions
from launch.run.recipe import Recipe
from launch.run.site import Site


def base_model_identity(recipe: Recipe) -> dict[str, Any]:
    """Everything that decides the base model, without building or fetching it."""
    model = recipe.table("model")
    if model.get("source") == "random":
        texts = Path(model["tokenizer_texts"])
        files = [
            Path(model["config"]),
            Path(model["chat_template"]),
            *sorted(texts.glob("*.jsonl")),
        ]
        return {
            "source": "random",
            "seed": model["seed"],
            "files": {f.name: sha256_file(_there(f)) for f in files},
            # Initialisation and tokenizer are the libraries' work.
            "packages": {k: v for k, v in versions().items() if k in BUILDERS},
        }
    if model.get("source") == "hub":
        given = model.get("chat_template")
        turns = {"chat_template": sha256_file(_there(Path(given)))} if given else {}
        local = Path(str(model["base"])).expanduser()
        if local.is_dir():
            return {"source": "folder", "files": _hashes(local), **turns}
        return {"source": "hub", "base": model["base"], "revision": model["revision"], **turns}
    raise KitError("model.source is missing; it takes hub or random", where=f"recipe {recipe.name}")


#: What makes a base model that is built and not fetched.
BUILDERS = ("torch", "transformers", "tokenizers")


def _hashes(folder: Path) -> dict[str, str]:
    return {p.name: sha256_file(p) for p in sorted(folder.iterdir()) if p.is_file()}


def _there(path: Path) -> Path:
    if not path.is_file():
        raise KitError(
            "a file that the recipe's [model] names is not there",
            where=str(path),
            fix="restore it, or mend model.config, model.chat_template or model.tokenizer_texts",
        )
    return path


def base_model_path(
    recipe: Recipe, site: Site, identity: dict[str, Any] | None = None
) -> Path | str:
    """Where the base model is or will be; a repository name while it is not fetched.

    Args:
        recipe: whose base model.
        site: in whose cache.
        identity: as base_model_identity gave it, where it is known.
    """
    model = recipe.table("model")
    if model.get("source") == "random":
        name = f"{recipe.name}-{digest(identity or base_model_identity(recipe))[:16]}"
        return site.cache_path / "models" / name
    local = Path(str(model["base"])).expanduser()
    if local.is_file():
        raise KitError(
            "model.base is a file, and a model is a folder", where=str(local),
            cause="GGUF holds quantised weights, which are not trained on"
            if local.suffix == ".gguf" else "",
            fix="a folder with config.json, tokenizer and safetensors"
            + ("; python -m bench.real_weights makes one of a small GGUF"
               if local.suffix == ".gguf" else ""),
        )  # fmt: skip
    return local.resolve() if local.is_dir() else str(model["base"])


def base_model(recipe: Recipe, site: Site, identity: dict[str, Any] | None = None) -> Path:
    """Give the base model's folder, building it where it is built and not there yet.

    Args:
        recipe: whose base model.
        site: in whose cache.
        identity: as base_model_identity gave it, where it is known.

    Raises:
        KitError: it was not fetched, has changed since, or holds no safetensors.
    """
    place = base_model_path(recipe, site, identity)
    if recipe.table("model").get("source") == "random":
        return _build(recipe, Path(place))
    folder = place if isinstance(place, Path) else _from_hub(recipe, site)
    folder = only_safetensors(folder, "base model")
    turns = recipe.table("model").get("chat_template")
    if not turns or has_template(folder):
        return folder
    known = digest(identity or base_model_identity(recipe))
    out = site.cache_path / "models" / f"{recipe.name}-{known[:16]}"
    return _with_template(folder, Path(turns), out)


def _with_template(folder: Path, turns: Path, out: Path) -> Path:
    """Give a folder with the base model's files and the recipe's way to write turns.

    A pretrained base was never taught turns and has no chat template; what trains and what scores
    it must yet write them alike.
    """
    if out.is_dir():
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=".half-", dir=out.parent))
    try:
        for path in sorted(p for p in folder.iterdir() if p.is_file()):
            (half / path.name).symlink_to(path.resolve())
        shutil.copyfile(_there(turns), half / "chat_template.jinja")
        try:
            half.rename(out)
        except OSError:  # another run was first: its folder is as good
            if not out.is_dir():
                raise
    finally:
        shutil.rmtree(half, ignore_errors=True)
    print(f"chat template: {turns.name}, as the base model has none", flush=True)
    return out


def _from_hub(recipe: Recipe, site: Site) -> Path:
    from corpus.store import Repo, Store

    model = recipe.table("model")
    repo = Repo("model", str(model["base"]))
    fetch = fetch_command(recipe, site)
    return Store(site.cache_path).verified(repo, str(model["revision"]), MODEL_FILES, fetch)


def _build(recipe: Recipe, out: Path) -> Path:
    from launch.inputs.tiny import build_tiny

    model = recipe.table("model")
    out.parent.mkdir(parents=True, exist_ok=True)
    # Two runs may want it at once: one builds, the other waits and finds it there.
    with (out.parent / f".{out.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (out / "model.safetensors").is_file():
            texts = Path(model["tokenizer_texts"])
            build_tiny(
                Path(model["config"]), Path(model["chat_template"]), _texts(texts), out,
                int(model["seed"]),
            )  # fmt: skip
    return out


def _texts(folder: Path) -> Iterator[str]:
    from corpus.rows import normalise
    from corpus.sources import Source, read

    for path in sorted(folder.glob("*.jsonl")):
        for _, raw in read(Source(path.stem, (path,))):
            yield from (text for _, text in normalise(raw).turns)
