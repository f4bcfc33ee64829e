"""JSON Schemas of what a user writes, for editors: recipes and sites.

`python -m launch.run.schemas` renews docs/schemas/ from the types that the files are checked
with; a test fails where one is older.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from launch.run import site
from launch.run.recipe import ROOT
from launch.run.recipe_schema import RecipeFile

FOLDER = ROOT / "docs" / "schemas"


def schemas() -> dict[str, str]:
    """Give each file's content, by its name."""
    recipe = _schema(RecipeFile, "A recipe, a part or a variant (recipes/)")
    profile = _schema(site.profile(), "A site's profile (launch/sites/)")
    profile["properties"]["extends"] = {"type": "string"}
    profile.pop("required")  # the title is the site's name where it is not given
    both = {"recipe.json": recipe, "site.json": profile}
    return {name: json.dumps(one, indent=1) + "\n" for name, one in both.items()}


def _schema(kind: type[Any], title: str) -> dict[str, Any]:
    """Give a table's schema with the table itself at the root, where editors look for its keys."""
    (root,), parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    own = parts.pop(str(root["$ref"]).rpartition("/")[2])
    for one in parts.values():
        one.pop("title", None)
    defs = {"$defs": parts} if parts else {}
    draft = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": draft, **own, "title": title, **defs}


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in schemas().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
