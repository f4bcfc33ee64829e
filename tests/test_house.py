"""The rooms import only what the design allows, so that data flows one way."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {
    "recipes": set(),
    "containers": set(),
    "corpus": set(),
    "checks": set(),
    "launch": {"corpus", "checks", "containers"},
    "bench": {"corpus", "checks", "containers", "launch"},
}


def imports(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def forbidden(room: str, source: str) -> set[str]:
    return (imports(source) & set(ROOMS)) - ROOMS[room] - {room}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_the_table_allows(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        wrong = forbidden(room, path.read_text())
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_the_check_sees_an_import_inside_a_function() -> None:
    assert forbidden("checks", "def f():\n    from launch.run import Run\n") == {"launch"}
    assert forbidden("recipes", "import corpus.rows") == {"corpus"}


def test_recipes_hold_data_only() -> None:
    assert not list((ROOT / "recipes").rglob("*.py"))
