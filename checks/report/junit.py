"""The verdict as JUnit XML, so that any CI shows each benchmark as a test.

*reproduced* passes, *not reproduced* is a failure, *invalid* an error. *inconclusive* is skipped:
it is neither a pass nor a fault; the program's exit code 3 still stops the job.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from kit.files import write_text

__all__ = ["write_junit"]

_ELEMENTS = {"not reproduced": "failure", "invalid": "error", "inconclusive": "skipped"}
_COUNTS = {"failure": "failures", "error": "errors", "skipped": "skipped"}


def write_junit(verdict: Mapping[str, Any], path: Path) -> Path:
    """Write the JUnit XML file and give its path."""
    rows = verdict["benchmarks"]
    name = f"{verdict['model']} ({verdict['tier']})"
    suite = ElementTree.Element("testsuite", name=_clean(name), tests=str(len(rows)))
    for element, count in _COUNTS.items():
        found = sum(_ELEMENTS.get(row["verdict"]) == element for row in rows)
        suite.set(count, str(found))
    for row in rows:
        case = ElementTree.SubElement(
            suite, "testcase", classname=_clean(verdict["table"]["name"]), name=_clean(row["title"])
        )
        kind = _ELEMENTS.get(row["verdict"])
        if kind:
            message = ElementTree.SubElement(case, kind, message=_clean(row["reason"]))
            message.set("type", row["verdict"])
        else:
            ElementTree.SubElement(case, "system-out").text = _clean(row["reason"])
    ElementTree.indent(suite)
    text = ElementTree.tostring(suite, encoding="unicode")
    write_text(Path(path), f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n', parents=True)
    return Path(path)


def _clean(text: str) -> str:
    """Drop the control characters that XML cannot hold."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "�", text)
