"""A recipe: what is to be reproduced, as data.

`load("smoke")` reads recipes/smoke/recipe.toml, puts it over the recipe that it `extends`, and
gives one resolved dictionary. `with_settings` puts `--set key=value` over that. Nothing here
trains: `launch.stages.train` renders the `train` table for Axolotl.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch.errors import KitError, nearest

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ROOT / "recipes"

#: Every key outside `train` (whose keys are Axolotl's) and the type that it takes.
SCHEMA: dict[str, dict[str, type]] = {
    "model": {
        "source": str,
        "base": str,
        "licence": str,
        "revision": str,
        "architecture": str,
        "config": str,
        "chat_template": str,
        "tokenizer_texts": str,
        "seed": int,
        "weights": str,
    },
    "corpus": {"sources": str, "decontaminate": str},
    "shape": {"global_batch": int, "gpus": int},
    "envelope": {"rise": float, "ceilings": list, "window": int},
    "eval": {
        "harness": str,
        "benchmarks": list,
        "benchmark_files": str,
        "limit": int,
        "seed": int,
        "chat_template": bool,
        "max_gen_toks": int,
        "max_length": int,
        "batch_size": int,
        "dtype": str,
        "base": bool,
    },
    "published": {"table": str, "model": str, "tier": str},
}
#: Values that name a file or folder; a relative one is relative to the recipe that wrote it.
PATHS = ("model.config", "model.chat_template", "model.tokenizer_texts", "model.weights",
         "corpus.sources", "eval.benchmark_files", "train.config")  # fmt: skip
#: Values of path keys that are words, not paths.
WORDS = ("hub", "")


@dataclass(frozen=True)
class Recipe:
    """One resolved recipe.

    Attributes:
        name: the folder's name.
        data: the tables of SCHEMA plus `train`, with every path absolute.
        lineage: the recipes that it was put together from, the root first.
        settings: what `--set` and its shorthands changed, as given.
    """

    name: str
    data: dict[str, Any]
    lineage: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The model that comes out."""
        return str(self.data.get("title", self.name))

    def table(self, name: str) -> dict[str, Any]:
        """Give one table of the recipe, for example `table("eval")`."""
        return dict(self.data.get(name, {}))


def known_recipes() -> list[str]:
    """Names of the recipes that ship with the kit."""
    return sorted(p.parent.name for p in RECIPES.glob("*/recipe.toml"))


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Read a TOML file; a missing or broken one is a KitError that names the line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise KitError(f"{what} is not there", where=str(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise KitError(
            f"{what} is not valid TOML: {error}", where=str(path), fix="mend the line and run again"
        ) from None
    except OSError as error:
        raise KitError(f"{what} cannot be read: {error.strerror}", where=str(path)) from None


def load(name: str) -> Recipe:
    """Resolve a recipe by name, or by the path of a folder that holds a recipe.toml.

    Raises:
        KitError: unknown name (with the nearest), broken file, unknown key, a circle of `extends`.
    """
    return _load(name, ())


def _load(name: str, below: tuple[str, ...]) -> Recipe:
    folder = RECIPES / name
    if not (folder / "recipe.toml").is_file():
        folder = Path(name)
        if not (folder / "recipe.toml").is_file():
            raise KitError(
                f"there is no recipe {name!r}; {nearest(name, known_recipes())}",
                where=str(RECIPES),
                fix="mfo run --help, or give the path of a folder that holds a recipe.toml",
            )
    if folder.name in below:
        raise KitError(f"recipe {folder.name} extends itself", where=" -> ".join(below))
    own = read_toml(folder / "recipe.toml", f"recipe {folder.name}")
    _check_tables(own, folder / "recipe.toml")
    for key in PATHS:
        table, leaf = key.split(".")
        value = own.get(table, {}).get(leaf)
        if isinstance(value, str) and value not in WORDS:
            own[table][leaf] = str((folder / value).resolve())
    parent: dict[str, Any] = {}
    lineage: tuple[str, ...] = (folder.name,)
    if "extends" in own:
        above = _load(own.pop("extends"), (*below, folder.name))
        parent, lineage = copy.deepcopy(above.data), (*above.lineage, folder.name)
    config = own.get("train", {}).pop("config", None)
    if config is not None:
        parent["train"] = _read_axolotl(Path(config))
    data = merge(parent, own)
    missing = [t for t in (*SCHEMA, "train") if t not in data]
    if missing:
        raise KitError(
            f"recipe {folder.name} has no table [{missing[0]}]", where=str(folder / "recipe.toml")
        )
    return Recipe(folder.name, data, lineage)


def _read_axolotl(path: Path) -> dict[str, Any]:
    import yaml

    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise KitError(f"the training file cannot be read: {error}", where=str(path)) from None
    if not isinstance(config, dict):
        raise KitError("the training file is not a table of Axolotl keys", where=str(path))
    return config


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Put `above` over `below`, table by table; lists and plain values are replaced whole."""
    out = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merge(out[key], value) if both else copy.deepcopy(value)
    return out


def _check_tables(data: Mapping[str, Any], where: Path) -> None:
    allowed = {"title", "extends", "train", *SCHEMA}
    for table, values in data.items():
        if table not in allowed:
            raise KitError(
                f"unknown table or key {table!r}; {nearest(table, allowed)}", where=str(where)
            )
        if table in SCHEMA:
            if not isinstance(values, Mapping):
                raise KitError(f"{table} must be a table, [{table}]", where=str(where))
            for key, value in values.items():
                _check_value(f"{table}.{key}", value, str(where))


def _check_value(key: str, value: Any, where: str) -> None:
    table, _, leaf = key.partition(".")
    kind = SCHEMA[table].get(leaf)
    if kind is None:
        names = [f"{t}.{k}" for t, keys in SCHEMA.items() for k in keys]
        raise KitError(f"unknown key {key!r}; {nearest(key, names)}", where=where)
    kinds = (int, float) if kind is float else (kind,)
    right = isinstance(value, kinds) and not (bool not in kinds and isinstance(value, bool))
    if not right or (kind in (int, float) and value < 0):
        words = {int: "a whole number >= 0", float: "a number >= 0", bool: "true or false",
                 str: "text", list: "a list"}  # fmt: skip
        raise KitError(f"{key} takes {words[kind]}, not {value!r}", where=where)


def parse_setting(text: str) -> tuple[str, Any]:
    """Read one `--set key=value`; the value is TOML, or text where it is not."""
    key, equals, raw = text.partition("=")
    if not equals or not key.strip():
        raise KitError(f"--set takes key=value, not {text!r}", fix="--set eval.limit=8")
    try:
        value: Any = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw
    return key.strip(), value


def with_settings(recipe: Recipe, settings: Iterable[tuple[str, Any]]) -> Recipe:
    """Put settings over a recipe.

    Raises:
        KitError: a key that the recipe does not know (with the nearest names), or a wrong type.
    """
    data = copy.deepcopy(recipe.data)
    given = dict(recipe.settings)
    for key, value in settings:
        table, _, rest = key.partition(".")
        if table == "train" and rest:
            value = _set_train(data["train"], rest, value)
        elif table in SCHEMA and rest:
            _check_value(key, value, "--set")
            if key in PATHS and value not in WORDS:
                value = str(Path(value).expanduser().resolve())
            data[table][rest] = value
        else:
            raise KitError(
                f"unknown key {key!r}; {nearest(key, _all_keys(data))}",
                where="--set",
                fix=f"mfo run {recipe.name} --dry-run shows every key",
            )
        given[key] = value
    return Recipe(recipe.name, data, recipe.lineage, given)


def _all_keys(data: Mapping[str, Any]) -> list[str]:
    keys = [f"{t}.{k}" for t, names in SCHEMA.items() for k in names]
    return keys + [f"train.{k}" for k in data["train"]]


def _set_train(train: dict[str, Any], dotted: str, value: Any) -> Any:
    """Set one Axolotl key, nested ones by dots; gives the value as it was stored."""
    *tables, leaf = dotted.split(".")
    place: Any = train
    for name in tables:
        place = place.get(name) if isinstance(place, dict) else None
    if not isinstance(place, dict) or (leaf not in place and not _axolotl_knows(dotted)):
        names = _all_keys({"train": train})
        raise KitError(
            f"unknown key 'train.{dotted}'; {nearest('train.' + dotted, names)}",
            where="--set",
            cause="neither the recipe nor Axolotl's own schema has it",
        )
    old = place.get(leaf)
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    numbers = (int, float)
    plain = old is not None and not isinstance(old, bool) and isinstance(old, numbers)
    if plain and (isinstance(value, bool) or not isinstance(value, numbers)):
        raise KitError(f"train.{dotted} takes a number, not {value!r}", where="--set")
    if isinstance(old, bool) and not isinstance(value, bool):
        raise KitError(f"train.{dotted} takes true or false, not {value!r}", where="--set")
    place[leaf] = value
    return value


def _axolotl_knows(dotted: str) -> bool:
    """Ask Axolotl's schema (seconds of import, so only for keys that no recipe uses)."""
    try:
        from axolotl.utils.schemas.config import AxolotlInputConfig
    except ImportError:
        return False
    return "." not in dotted and dotted in AxolotlInputConfig.model_fields
