"""The base model of a recipe: what `mfo fetch` brought, a local folder, or built from a config.

Weights are data: nothing that a download brings is executed, and only safetensors are accepted.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launch.errors import KitError
from launch.files import digest, sha256_file
from launch.preflight.hub import MODEL_FILES, fetch_command, only_safetensors
from launch.recipe import Recipe
from launch.run import versions
from launch.site import Site

_SOURCES = ("hub", "random")


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
            "packages": {k: v for k, v in versions().items() if k in _BUILDERS},
        }
    if model.get("source") == "hub":
        local = Path(str(model["base"])).expanduser()
        if local.is_dir():
            return {"source": "folder", "files": _hashes(local)}
        return {"source": "hub", "base": model["base"], "revision": model["revision"]}
    raise KitError(f"model.source is {model.get('source')!r}; known: {', '.join(_SOURCES)}")


_BUILDERS = ("torch", "transformers", "tokenizers")


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


def base_model_path(recipe: Recipe, site: Site) -> Path | str:
    """Where the base model is or will be; a repository name while it is not fetched."""
    model = recipe.table("model")
    if model.get("source") == "random":
        name = f"{recipe.name}-{digest(base_model_identity(recipe))[:16]}"
        return site.cache_path / "models" / name
    local = Path(str(model["base"])).expanduser()
    return local.resolve() if local.is_dir() else str(model["base"])


def base_model(recipe: Recipe, site: Site) -> Path:
    """Give the base model's folder, building it where it is built and not there yet.

    Raises:
        KitError: it was not fetched, has changed since, or holds no safetensors.
    """
    place = base_model_path(recipe, site)
    if recipe.table("model").get("source") == "random":
        return _build(recipe, Path(place))
    folder = place if isinstance(place, Path) else _from_hub(recipe, site)
    return only_safetensors(folder, "base model")


def _from_hub(recipe: Recipe, site: Site) -> Path:
    from corpus.store import Repo, Store

    model = recipe.table("model")
    repo = Repo("model", str(model["base"]))
    fetch = fetch_command(recipe, site)
    return Store(site.cache_path).verified(repo, str(model["revision"]), MODEL_FILES, fetch)


def _build(recipe: Recipe, out: Path) -> Path:
    from launch.preflight.tiny import build_tiny

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
