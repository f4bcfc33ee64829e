"""What decides a stage's outputs, as a type: a frozen dataclass of inputs, and the JSON of it.

A field bears identity unless its type is a `Place`: where a file lies, or a table that changes no
output. What cannot be written as JSON raises: nothing bears identity by its accidental text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Annotated, Any, TypeVar

T = TypeVar("T")
#: The type of a field that bears no identity. Its module postpones annotations: they are text.
Place = Annotated[T, "place"]


def bears_identity(one: Field[Any]) -> bool:
    """Whether a field of a stage's inputs decides its outputs."""
    return not str(one.type).startswith("Place[")


def _absent(one: Field[Any], value: object) -> bool:
    """Whether a field that may be left out (it has the default None) is."""
    return one.default is not MISSING and one.default is None and value is None


def as_json(value: Any, where: str = "inputs") -> Any:
    """Give inputs as JSON gives them back, without their places.

    Raises:
        TypeError: a value is neither text, number, boolean, None, list, table nor dataclass.
    """
    if is_dataclass(value) and not isinstance(value, type):
        kept = [one for one in fields(value) if bears_identity(one)]
        pairs = [(one, getattr(value, one.name)) for one in kept]
        return {
            one.name: as_json(found, f"{where}.{one.name}")
            for one, found in pairs
            if not _absent(one, found)
        }
    if isinstance(value, Mapping):
        if strange := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"{where} has a key that is no text: {strange[0]!r}")
        return {key: as_json(one, f"{where}.{key}") for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(one, f"{where}[{n}]") for n, one in enumerate(value)]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"{where} is a {type(value).__name__}, which JSON does not know")
