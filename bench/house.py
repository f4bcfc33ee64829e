"""How the source stands: its size, its directions, and what is checked by hand.

    python -m bench.house                        the files as they are
    python -m bench.house 9c4597c HEAD           commits beside each other

Counts source alone, no tests. A room is a folder; an import runs up where a room of launch/ imports
from one above it (before there were floors: from a room that imports it back). Everything is read
from the syntax tree, imports for type checking left out.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

ROOMS = ("kit", "recipes", "containers", "corpus", "scoring", "checks", "launch", "bench")
FLOORS = ("run", "inputs", "stages", "slurm", "plan", "cli")


def sources(commit: str | None) -> dict[str, str]:
    """Give the source files of a commit, or of the working tree, by path."""
    if commit is None:
        listed = subprocess.run(
            ["git", "ls-files", "*.py"], capture_output=True, text=True, check=True
        ).stdout.split()
        found = {name: Path(name).read_text() for name in listed if Path(name).is_file()}
    else:
        packed = subprocess.run(["git", "archive", commit], capture_output=True, check=True).stdout
        found = {}
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            for member in archive.getmembers():
                file = archive.extractfile(member) if member.name.endswith(".py") else None
                if file:
                    found[member.name] = file.read().decode()
    return {name: text for name, text in found.items() if name.split("/")[0] in ROOMS}


def imports(tree: ast.Module, known: set[str]) -> Iterator[tuple[str, bool]]:
    """Give each module of the kit that is imported, and whether inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = {f"{node.module}.{alias.name}" for alias in node.names} & known
            names = names or {node.module}
        else:
            continue
        yield from ((name, id(node) in inside) for name in sorted(names & known))


def room(module: str) -> str:
    """Give a module's room: its folder. What lies in launch/ itself is a room of its own."""
    return module.rpartition(".")[0]


def measure(files: dict[str, str]) -> dict[str, int]:
    """Count what the table shows."""
    known = {n.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for n in files}
    arrows: set[tuple[str, str]] = set()
    hidden = 0
    for name, text in files.items():
        module = name.removesuffix(".py").replace("/", ".")
        for other, inside in imports(ast.parse(text), known):
            hidden += inside
            arrows.add((room(module), room(other)))
    inner = [
        (a, b) for a, b in arrows if a != b and a.startswith("launch") and b.startswith("launch")
    ]
    floors = {f"launch.{name}": n for n, name in enumerate(FLOORS)}
    text = "\n".join(files.values())
    return {
        "files": len(files),
        "lines": text.count("\n") + 1,
        "longest file": max(t.count("\n") + 1 for t in files.values()),
        "rooms of launch that import each other": sum((b, a) in inner for a, b in inner) // 2,
        "arrows up the floors of launch": sum(
            floors[a] < floors[b] for a, b in inner if a in floors and b in floors
        ),
        "own imports inside functions": hidden,
        "dict[str, Any]": len(re.findall(r"dict\[str, Any\]", text)),
        "fmt: skip": len(re.findall(r"# fmt: skip$|# fmt: skip ", text, re.MULTILINE)),
        "classes named KitError": len(re.findall(r"^class KitError\b", text, re.MULTILINE)),
    }


def main() -> None:
    """Print a column for each commit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commits", nargs="*")
    options = parser.parse_args()
    columns = [measure(sources(one)) for one in options.commits or [None]]
    print(" " * 40 + "".join(f"{one[:10]:>12}" for one in options.commits or ["here"]))
    for key in columns[0]:
        print(f"{key:<40}" + "".join(f"{one[key]:>12,}" for one in columns))


if __name__ == "__main__":
    main()
