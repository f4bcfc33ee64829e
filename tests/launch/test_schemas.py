"""The kit's own files against their types, and the JSON Schemas that editors get of them."""

import json
import math
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from containers.lockfile import Facts
from containers.spec import ImagesFile
from corpus.listing import Listing
from kit.errors import KitError
from kit.schema import convert
from launch.plan.assume import Assumptions
from launch.run import schemas
from launch.run.recipe import RECIPES, ROOT
from launch.run.recipe_schema import RecipeFile
from launch.run.site import SITES, profile
from launch.run.stacks import Stack

RECIPE, SITE = (json.loads(text) for text in schemas.schemas().values())


def test_the_files_are_what_the_types_give() -> None:
    kept = {file.name: file.read_text() for file in schemas.FOLDER.iterdir()}
    assert kept == schemas.schemas(), "next: python -m launch.run.schemas"


@pytest.mark.parametrize(
    "file",
    sorted({*RECIPES.glob("*/recipe.toml"), *RECIPES.glob("parts/*.toml"),
            *RECIPES.rglob("variants/*.toml"), *SITES.glob("*.toml")}),
    ids=lambda file: f"{file.parent.name}/{file.name}",
)  # fmt: skip
def test_every_file_of_the_kit_fits(file: Path) -> None:
    schema = SITE if file.parent == SITES else RECIPE
    jsonschema.validate(tomllib.loads(file.read_text()), schema)


READ = [
    ("recipes/parts/family.toml", RecipeFile),
    ("launch/sites/clariden.toml", profile()),
    ("recipes/corpus.toml", Listing),
    ("recipes/benchmarks.toml", Listing),
    ("recipes/stacks.toml", dict[str, Stack]),
    ("launch/plan/plan.toml", Assumptions),
    ("containers/images.toml", ImagesFile),
    ("containers/locks/train/lock.toml", Facts),
]


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Give the path of every value in a file."""
    pairs = data.items() if isinstance(data, dict) else enumerate(data)
    out = []
    for key, value in pairs:
        out.append((*path, key))
        out += places(value, (*path, key)) if isinstance(value, (dict, list)) else []
    return out


@pytest.mark.parametrize(("name", "kind"), READ, ids=[name for name, _ in READ])
@given(data=st.data())
@settings(max_examples=50)
def test_any_change_of_a_real_file_is_taken_or_refused_in_words(
    name: str, kind: Any, data: st.DataObject
) -> None:
    content = tomllib.loads((ROOT / name).read_text())
    *tables, leaf = data.draw(st.sampled_from(places(content)))
    place: Any = content
    for key in tables:
        place = place[key]
    how = data.draw(st.sampled_from(["replace", "drop", "rename"]))
    value = place[leaf]
    if how == "replace":
        place[leaf] = data.draw(
            st.sampled_from([True, -1, 0, 1.5, math.nan, "", "x", [], [1], {}, {"x": 1}])
        )
    else:
        del place[leaf]
    if how == "rename" and isinstance(place, dict):
        place[f"{leaf}x"] = value
    try:
        convert(content, kind, where=name, what="the file")
    except KitError as error:
        assert "at `$" not in str(error), "msgspec's own words"
        named = [str(key) for key in (*tables, leaf) if isinstance(key, str)]
        assert any(key in error.what for key in named) or error.what.startswith("the file")


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (RECIPE, "[eval]\nlimt = 3"),
        (RECIPE, "[eval]\nlimit = -3"),
        (RECIPE, '[eval]\nbackend = "vlm"'),
        (SITE, "nods = 3"),
        (SITE, 'runtime = "docker"'),
    ],
)
def test_what_the_kit_would_refuse_is_marked(schema: dict, text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tomllib.loads(text), schema)
