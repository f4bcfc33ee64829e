"""Real files that tests meet where they are at hand, and say so where they are not.

Upstream's own files, real benchmarks and a real corpus are not part of this repository. A test
that reads them finds them in the folder that MFO_REAL_FILES names, else in `shared` beside the
checkout, and is skipped, with the reason, where there is none.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def real_files(*parts: str) -> Path:
    """Give a file or folder below the folder of real files; skips the test where it is absent."""
    folder = Path(os.environ.get("MFO_REAL_FILES") or ROOT.parent / "shared")
    path = folder.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the real {'/'.join(parts)} is not here (MFO_REAL_FILES names its folder)")
    return path
