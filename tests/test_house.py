"""The rooms import only what the design allows, so that data flows one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {
    "kit": set(),
    "recipes": set(),
    "containers": {"kit"},
    "corpus": {"kit"},
    "checks": {"kit"},
    "scoring": {"kit", "checks"},
    "launch": {"kit", "corpus", "scoring", "checks", "containers"},
    "bench": {"kit", "corpus", "scoring", "checks", "containers", "launch"},
}

#: The rooms of launch/, each above those before it.
FLOORS = ("run", "inputs", "stages", "slurm", "plan", "cli")


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
    assert forbidden("kit", "import checks.items") == {"checks"}


#: Takes seconds to import, or is missing where only items are judged.
FRAMEWORKS = ("torch", "transformers", "lm_eval", "openai", "datasets", "axolotl", "vllm")


def frameworks(room: str) -> list[str]:
    """Frameworks that a fresh interpreter holds once it has imported every module of the room."""
    names = [module(p) for p in sorted((ROOT / room).rglob("*.py"))]
    code = (
        "import importlib, sys\n"
        f"for name in {names}: importlib.import_module(name)\n"
        f"print(*[name for name in {FRAMEWORKS} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_verdict_needs_no_framework() -> None:
    assert frameworks("checks") == []


def test_a_framework_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "client.py").write_text("import openai\n")
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "openai.py").write_text("")
    assert frameworks("room") == ["openai"]


def test_recipes_hold_data_only() -> None:
    assert not list((ROOT / "recipes").rglob("*.py"))


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def needs(source: str, modules: set[str]) -> set[str]:
    """Modules that this source imports, inside functions too, but not for type checking alone."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found & modules


def in_a_circle(graph: dict[str, set[str]]) -> set[str]:
    """Take away what needs nothing that is left, again and again, and what nothing needs."""
    left = {name: set(wants) for name, wants in graph.items()}
    while True:
        wanted = set().union(*left.values()) if left else set()
        free = {n for n, wants in left.items() if not wants & left.keys() or n not in wanted}
        if not free:
            return set(left)
        left = {n: wants - free for n, wants in left.items() if n not in free}


@pytest.mark.parametrize("room", [r for r in ROOMS if r != "recipes"])
def test_no_import_runs_in_a_circle(room: str) -> None:
    paths = {module(p): p for p in (ROOT / room).rglob("*.py") if p.name != "__init__.py"}
    graph = {name: needs(p.read_text(), set(paths)) - {name} for name, p in paths.items()}
    assert not in_a_circle(graph)


def test_a_circle_is_seen_inside_functions_and_not_in_annotations() -> None:
    both = {"a.x", "a.y"}
    assert needs("def f():\n    from a import y\n", both) == {"a.y"}
    assert not needs("if TYPE_CHECKING:\n    from a.y import Y\n", both)
    assert in_a_circle({"a.x": {"a.y"}, "a.y": {"a.x"}, "a.z": {"a.x"}}) == both
    assert not in_a_circle({"a.x": {"a.y"}, "a.y": set()})


def climbs(source: str, floor: str) -> set[str]:
    """Modules of launch/ above this floor that the source imports, inside functions too."""
    above = FLOORS[FLOORS.index(floor) + 1 :]
    names = {module(p) for room in above for p in (ROOT / "launch" / room).glob("*.py")}
    return needs(source, names)


@pytest.mark.parametrize("floor", FLOORS)
def test_inside_launch_no_import_runs_up(floor: str) -> None:
    for path in (ROOT / "launch" / floor).rglob("*.py"):
        wrong = climbs(path.read_text(), floor)
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_a_climb_is_seen_inside_functions() -> None:
    source = "def f():\n    from launch.slurm import script\n"
    assert climbs(source, "stages") == {"launch.slurm", "launch.slurm.script"}
    assert not climbs(source, "plan")


def test_every_module_of_launch_stands_on_a_floor() -> None:
    places = {p.name for p in (ROOT / "launch").iterdir() if p.suffix == ".py" or p.is_dir()}
    # Data, the entry of `python -m launch`, and the floors.
    known = {"__init__.py", "__main__.py", "__pycache__", "sites", *FLOORS}
    assert places <= known
