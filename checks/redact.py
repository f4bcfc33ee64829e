"""Cutting secrets out of text before it leaves the machine.

Two things are cut: the values of environment variables whose names say that they are secret, and
what has the shape of a known token, wherever it came from. What is neither cannot be recognised:
a password in a file of the user's own is still a password.
"""

from __future__ import annotations

import json
import os
import re
import urllib.parse
from collections.abc import Mapping

__all__ = ["MARK", "Redactor"]

MARK = "[redacted]"
SHORTEST = 6  # a variable MY_KEY=1 would cut every 1 out of a log
SECRET_NAME = re.compile(r"(?i)(?:_TOKEN|_KEY|_PAT)\Z|PASSWORD|PASSWD|SECRET|CREDENTIAL")
#: What follows these must not be a letter or digit before; each keeps its first group.
SHAPES = tuple(
    re.compile(pattern)
    for pattern in (
        r"()(?<![A-Za-z0-9])hf_[A-Za-z0-9]{20,}",
        r"()(?<![A-Za-z0-9])(?:sk|rk|pk)-[A-Za-z0-9_-]{20,}",
        r"()(?<![A-Za-z0-9])(?:gh[oprsu]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})",
        r"()(?<![A-Za-z0-9])glpat-[A-Za-z0-9_-]{20,}",
        r"()(?<![A-Za-z0-9])xox[abeprs]-[A-Za-z0-9-]{10,}",
        r"()(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])",
        r"()(?<![A-Za-z0-9])wandb_v\d_[A-Za-z0-9_]{20,}",
        # A W&B key is 40 hex digits, as a commit is: only beside a word that says what it is.
        r"(?i)((?:key|password|login)[^\n]{1,24}?)(?<![0-9a-f])[0-9a-f]{40}(?![0-9a-f])",
        r"(?i)(\bbearer\s+)[A-Za-z0-9._~+/=-]{12,}",
        r"(://[^\s/:@]{0,100}:)[^\s/@]{3,200}(?=@)",
        r"(\b[A-Z][A-Z0-9_]*(?:_TOKEN|_KEY|PASSWORD|SECRET)\s{0,3}[=:]\s{0,3}[\"']?)"
        r"(?!\[redacted\])[^\s\"',;]{6,}",
    )
)


class Redactor:
    """Cuts secrets out of texts and counts them.

    Args:
        environment: whose secret variables are cut; this process's where none is given.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        found = os.environ if environment is None else environment
        values = {
            value.strip()
            for name, value in found.items()
            if SECRET_NAME.search(name) and len(value.strip()) >= SHORTEST
        }
        # As it stands, and as JSON and URLs would write it; the longest first.
        written = {w for v in values for w in (v, json.dumps(v)[1:-1], urllib.parse.quote(v, ""))}
        self._values = sorted(written, key=lambda w: (-len(w), w))
        self.count = 0

    def __call__(self, data: bytes) -> bytes:
        """Give the text without secrets; bytes that are not UTF-8 are kept as they are."""
        text = data.decode("utf-8", errors="surrogateescape")
        for value in self._values:
            self.count += text.count(value)
            text = text.replace(value, MARK)
        for shape in SHAPES:
            text, cut = shape.subn(rf"\g<1>{MARK}", text)
            self.count += cut
        return text.encode("utf-8", errors="surrogateescape")
