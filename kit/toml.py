"""TOML files, read with errors that name the file and the line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from kit.errors import KitError


def read_toml(path: Path, what: str, fix: str = "") -> dict[str, Any]:
    """Read a TOML file.

    Args:
        path: the file.
        what: what it is, for errors: "site laptop".
        fix: the next command where there is no such file.

    Raises:
        KitError: it is missing, cannot be read, or is not valid TOML (the line is named).
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise KitError(f"{what} is not there", where=str(path), fix=fix) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise KitError(
            f"{what} is not valid TOML: {error}", where=str(path), fix="mend the line and run again"
        ) from None
    except OSError as error:
        reason = error.strerror
        raise KitError(f"{what} cannot be read: {reason}", where=str(path), fix=fix) from None
