"""One row of the corpus, whatever its shape, as the turns that are trained on.

Two shapes are published: `conversations` of {from, value} (upstream's training files) and
`messages` of {role, content} (the hub's parquet files, by a third party's account). Both become
the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: Names of the speakers in either shape, and the one name that training files use.
ROLES = {
    "system": "system",
    "human": "human",
    "user": "human",
    "gpt": "gpt",
    "assistant": "gpt",
    "model": "gpt",
}
#: (list of turns, speaker, text) in the two shapes.
SHAPES = (("conversations", "from", "value"), ("messages", "role", "content"))


class RowError(ValueError):
    """A row that cannot be trained on; the message says why, the caller knows where."""


@dataclass(frozen=True, slots=True)
class Row:
    """One conversation.

    Attributes:
        id: the row's own id, or None.
        turns: (role, text) in order; roles are system, human and gpt.
    """

    id: str | None
    turns: tuple[tuple[str, str], ...]

    def as_json(self, id_: str, component: str) -> dict[str, Any]:
        """Give the row as training files hold it."""
        turns = [{"from": role, "value": text} for role, text in self.turns]
        return {"id": id_, "component": component, "conversations": turns}


def normalise(raw: object) -> Row:
    """Turn a raw row of either shape into a Row.

    Raises:
        RowError: no turns, an unknown role, empty text, or nobody to learn from.
    """
    if not isinstance(raw, Mapping):
        raise RowError(f"a row is an object, not {type(raw).__name__}")
    turns = tuple(_turns(raw))
    roles = [role for role, _ in turns]
    if "human" not in roles:
        raise RowError("no user turn")
    if "gpt" not in roles:
        raise RowError("no assistant turn, so nothing to train on")
    identity = raw.get("id")
    return Row(None if identity is None else str(identity), turns)


def _turns(raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    # A parquet file has every column in every row: the other shape is then there, but null.
    shape = next((shape for shape in SHAPES if raw.get(shape[0]) is not None), None)
    if shape is None:
        fields = ", ".join(sorted(map(str, raw))) or "none"
        raise RowError(f"no turns: neither `conversations` nor `messages` (fields: {fields})")
    name, speaker, text = shape
    turns = raw[name]
    if not isinstance(turns, (list, tuple)) or not turns:
        raise RowError(f"no turns: `{name}` is empty")
    for number, turn in enumerate(turns, 1):
        if not isinstance(turn, Mapping):
            raise RowError(f"turn {number} is not an object")
        role, value = turn.get(speaker), turn.get(text)
        if role not in ROLES:
            raise RowError(
                f"turn {number} has the unknown role {role!r} (known: {', '.join(ROLES)})"
            )
        if not isinstance(value, str) or not value.strip():
            raise RowError(f"turn {number} ({role}) has empty text")
        yield ROLES[role], value
