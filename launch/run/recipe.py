"""A recipe: what is to be reproduced, as data.

`load("smoke")` reads recipes/smoke/recipe.toml and gives one resolved dictionary. From below:
    extends    another recipe
    with       parts (recipes/parts/NAME.toml) that several recipes share, in order
    needs      keys that must be set below it, where a variant means nothing without them
    unset      keys that are taken away again
    append     what is put behind a list, by key
    remove     what is taken out of a list, by key
    upstream_file   the training file that upstream published for it
    departures      why it differs from that file, by key (launch.inputs.departures)
    its own    tables
`load("smoke+fast")` puts the variant `fast` on top: the file variants/fast.toml of the recipe, of
one that it extends, or of recipes/ itself. `with_settings` puts `--set key=value` over that.
Nothing here trains: `launch.stages.train` renders the `train` table for Axolotl.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kit.errors import KitError, nearest
from kit.files import read_toml
from launch.run.recipe_keys import KEPT, PATHS, TABLES, WORDS

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "recipes"


@dataclass(frozen=True)
class Recipe:
    """One resolved recipe.

    Attributes:
        name: the folder's name, with "+VARIANT" behind it for each variant.
        data: the tables of TABLES and what KEPT names, with every path absolute.
        lineage: the recipes that it was put together from, the root first; parts are not named.
        settings: what `--set` and its shorthands changed, as given.
        readable: the tables that may be read; None: all.
    """

    name: str
    data: dict[str, Any]
    lineage: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    readable: frozenset[str] | None = None

    @property
    def title(self) -> str:
        """The model that comes out."""
        return str(self.data.get("title", self.name))

    def table(self, name: str) -> dict[str, Any]:
        """Give one table of the recipe, for example `table("eval")`.

        Raises:
            LookupError: the recipe was narrowed to other tables (`only`).
        """
        if self.readable is not None and name not in self.readable:
            raise LookupError(f"[{name}] is not among this stage's inputs: {sorted(self.readable)}")
        return dict(self.data.get(name, {}))

    def only(self, *tables: str) -> Recipe:
        """Give the recipe with these tables alone: what is not among them cannot be read."""
        kept = {k: v for k, v in self.data.items() if k in tables or not isinstance(v, dict)}
        return replace(self, data=kept, readable=frozenset(tables))


def known_recipes() -> list[str]:
    """Names of the recipes that ship with the kit."""
    return sorted(p.parent.name for p in RECIPES.glob("*/recipe.toml"))


def load(name: str) -> Recipe:
    """Resolve a recipe by name, or by the path of a folder that holds a recipe.toml.

    Args:
        name: with "+VARIANT" behind it for each variant that is put on top, in order.

    Raises:
        KitError: unknown name (with the nearest), broken file, unknown key, a circle of `extends`.
    """
    if "+" not in name or _folder(name) is not None:
        return _load(name, ())
    base, *variants = name.split("+")
    recipe = _load(base, ())
    for variant in variants:
        recipe = _vary(recipe, variant)
    return recipe


def known_variants(recipe: Recipe) -> dict[str, Path]:
    """Give the variants of a recipe: the file of each, the recipe's own before those of all."""
    out: dict[str, Path] = {}
    for folder in (RECIPES, *(RECIPES / name for name in recipe.lineage)):
        out |= {p.stem: p for p in sorted((folder / "variants").glob("*.toml"))}
    return out


def fitting_variants(recipe: Recipe) -> dict[str, Path]:
    """Give those of the known variants that this recipe can have: what they need is set."""
    known = known_variants(recipe)
    return {v: p for v, p in known.items() if not _unmet(recipe.data, read_toml(p, f"variant {v}"))}


def _unmet(data: dict[str, Any], own: Mapping[str, Any]) -> list[str]:
    """Give the keys that a file needs below it and that are not set."""
    places = {str(key): _place(data, key) for key in own.get("needs", [])}
    return [key for key, (table, leaf) in places.items() if not table or not table.get(leaf)]


def _vary(recipe: Recipe, variant: str) -> Recipe:
    known = known_variants(recipe)
    if variant not in known:
        raise KitError(
            f"recipe {recipe.name} has no variant {variant!r}; {nearest(variant, known)}",
            where=str(RECIPES / "variants"),
            fix=f"mfo recipe show {recipe.name}",
        )
    name, file = f"{recipe.name}+{variant}", known[variant]
    data = _over(recipe.data, _read(file, f"variant {variant}"), file)
    return Recipe(name, data, (*recipe.lineage, name))


def _folder(name: str) -> Path | None:
    for folder in (RECIPES / name, Path(name)):
        if (folder / "recipe.toml").is_file():
            return folder
    return None


def _load(name: str, below: tuple[str, ...]) -> Recipe:
    folder = _folder(name)
    if folder is None:
        raise KitError(
            f"there is no recipe {name!r}; {nearest(name, known_recipes())}",
            where=str(RECIPES),
            fix="mfo recipes lists them, or give the path of a folder that holds a recipe.toml",
        )
    if folder.name in below:
        raise KitError(f"recipe {folder.name} extends itself", where=" -> ".join(below))
    file = folder / "recipe.toml"
    own = _read(file, f"recipe {folder.name}")
    data: dict[str, Any] = {}
    lineage: tuple[str, ...] = (folder.name,)
    if "extends" in own:
        above = _load(own["extends"], (*below, folder.name))
        data, lineage = copy.deepcopy(above.data), (*above.lineage, folder.name)
    data = _over(data, own, file)
    missing = [t for t in TABLES if t not in data]
    if missing:
        raise KitError(f"recipe {folder.name} has no table [{missing[0]}]", where=str(file))
    return Recipe(folder.name, data, lineage)


def _part(name: str, where: Path) -> Path:
    known = {p.stem: p for p in sorted((RECIPES / "parts").glob("*.toml"))}
    if name not in known:
        raise KitError(f"there is no part {name!r}; {nearest(name, known)}", where=str(where))
    return known[name]


def _read(file: Path, what: str) -> dict[str, Any]:
    """Read and check one file of a recipe; its paths become absolute."""
    own = read_toml(file, what)
    _check(own, str(file), what)
    for key in PATHS:
        table, leaf = key.split(".")
        value = own.get(table, {}).get(leaf)
        if isinstance(value, str) and value not in WORDS:
            own[table][leaf] = str((file.parent / value).resolve())
    return own


def _over(below: dict[str, Any], own: dict[str, Any], file: Path) -> dict[str, Any]:
    """Put one file over what is below it: its parts, what it takes away, then what it says."""
    data = copy.deepcopy(below)
    for part in own.get("with", []):
        place = _part(part, file)
        data = _over(data, _read(place, f"part {part}"), place)
    for key in _unmet(data, own):
        raise KitError(
            f"{file.stem} needs {key}, which this recipe does not set",
            where=str(file),
            cause="it changes nothing, or the wrong thing, where that is not set",
            fix="leave it out",
        )
    for key in own.get("unset", []):
        table, leaf = _place(data, key)
        if table is None or leaf not in table:
            raise KitError(
                f"unset names {key!r}, which is not set; {nearest(str(key), _all_keys(data))}",
                where=str(file),
            )
        del table[leaf]
    for key, more in own.get("append", {}).items():
        table, leaf = _place(data, key)
        if table is None or not isinstance(table.get(leaf, []), list):
            raise KitError(f"append takes lists; {key!r} is none", where=str(file))
        table[leaf] = [*table.get(leaf, []), *more]
    for key, gone in own.get("remove", {}).items():
        table, leaf = _place(data, key)
        held = table.get(leaf) if table else None
        if table is None or not isinstance(held, list) or any(one not in held for one in gone):
            raise KitError(
                f"remove takes lists of what is there; {key!r} is {held!r}", where=str(file)
            )
        table[leaf] = [one for one in held if one not in gone]
        if not table[leaf]:
            del table[leaf]  # as if nothing had been put there
    own = {k: v for k, v in own.items() if k in TABLES or k in KEPT}
    config = own.get("train", {}).get("config")
    if config is not None:
        own["train"] = {k: v for k, v in own["train"].items() if k != "config"}
        data["train"] = _read_axolotl(Path(config))
    return merge(data, own)


def _place(data: dict[str, Any], key: object) -> tuple[dict[str, Any] | None, str]:
    """Give the table that holds a dotted key, None where there is none, and the key's last word."""
    *tables, leaf = str(key).split(".")
    place: Any = data
    for table in tables:
        place = place.get(table) if isinstance(place, dict) else None
    return (place if isinstance(place, dict) else None), leaf


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


def _check(data: Mapping[str, Any], where: str, what: str = "the setting") -> None:
    from kit import schema  # msgspec's weight, as recipe_schema's
    from launch.run.recipe_schema import RecipeFile

    schema.convert(data, RecipeFile, where=where, what=what)


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
        elif table in TABLES and rest:
            _check({table: {rest: value}}, "--set")
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
    from kit import schema  # msgspec's weight, as recipe_schema's
    from launch.run.recipe_schema import Tables

    return schema.names(Tables) + [f"train.{k}" for k in data.get("train", {})]


def _set_train(train: dict[str, Any], dotted: str, value: Any) -> Any:
    """Set one Axolotl key, nested ones by dots; gives the value as it was stored."""
    place, leaf = _place(train, dotted)
    if place is None or (leaf not in place and not _axolotl_knows(dotted)):
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
