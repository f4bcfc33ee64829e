"""The JSON Schemas for editors: as new as the types, and what they say of real files."""

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from launch.run import schemas
from launch.run.recipe import RECIPES
from launch.run.site import SITES

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
