"""docs/structure.md names files, lines and functions: each is where it says, or close by.

After a change: MFO_GOLDEN=write python -m pytest tests/test_structure.py
"""

import ast
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "structure.md"
#: Lines that a function may have moved by before the page has to be renewed.
NEAR = 30
STOP = re.compile(r"\((\.\./[\w/]+\.py)#L(\d+)\) `(\w+)`")


def line_of(file: Path, name: str) -> int:
    """Give the line of a top-level function or class; 0 where there is none of that name."""
    kinds = ast.FunctionDef | ast.ClassDef
    found = [n for n in ast.parse(file.read_text()).body if isinstance(n, kinds) and n.name == name]
    return found[0].lineno if found else 0


def renewed(text: str) -> str:
    """Give the page with the lines as they are now."""

    def line(match: re.Match[str]) -> str:
        place, _, name = match.groups()
        return f"({place}#L{line_of(PAGE.parent / place, name)}) `{name}`"

    return STOP.sub(line, text)


def test_every_stop_of_the_page_is_where_it_says() -> None:
    if os.environ.get("MFO_GOLDEN") == "write":
        PAGE.write_text(renewed(PAGE.read_text()))
    wrong = []
    for place, line, name in STOP.findall(PAGE.read_text()):
        found = line_of(PAGE.parent / place, name)
        if not found or abs(found - int(line)) > NEAR:
            wrong.append(f"{place}: {name} is on line {found}, the page says {line}")
    assert not wrong


def test_the_page_has_stops_and_a_moved_one_is_seen(tmp_path: Path) -> None:
    assert len(STOP.findall(PAGE.read_text())) > 20
    file = tmp_path / "x.py"
    file.write_text("\n\ndef here():\n    pass\n")
    assert line_of(file, "here") == 3
    assert line_of(file, "gone") == 0


@pytest.mark.parametrize("link", re.findall(r"\]\((\.\./[^)#]+)", PAGE.read_text()))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (PAGE.parent / link).exists()
