"""The JSON schema of verdict.json, generated from its types.

python -m checks.verdict_schema      writes checks/verdict.schema.json
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from checks.verdict_types import Verdict

__all__ = ["PATH", "schema", "schema_text"]

PATH = Path(__file__).with_name("verdict.schema.json")
_SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def schema(kind: Any = Verdict) -> dict[str, Any]:
    """Give the schema of a dataclass or a TypedDict: every key known, the required ones there."""
    named: dict[str, Any] = {}
    _of(kind, named)
    head = named.pop(kind.__name__)
    about = " ".join((kind.__doc__ or "").split())
    draft = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": draft, "title": "verdict.json", "description": about, **head, "$defs": named}


def schema_text() -> str:
    """Give the content of verdict.schema.json."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def _of(kind: Any, named: dict[str, Any]) -> dict[str, Any]:
    """Give a type's schema; those with keys are put into `named` and referred to."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        out = _of(args[0], named)
        for more in args[1:]:
            key, value = more if isinstance(more, tuple) else ("description", more)
            out[key] = value
        return out
    if kind in _SIMPLE:
        return {"type": _SIMPLE[kind]}
    if kind is Any:
        return {}
    if origin is Literal:
        return {"enum": list(args)} if len(args) > 1 else {"const": args[0]}
    if origin in (Union, types.UnionType):
        parts = [_of(arg, named) for arg in args]
        if all(part.keys() == {"type"} for part in parts):
            return {"type": [part["type"] for part in parts]}
        return {"oneOf": parts}
    if origin is list:
        return {"type": "array", "items": _of(args[0], named)}
    if origin in (dict, Mapping):
        values = _of(args[1], named)
        return {"type": "object", **({"additionalProperties": values} if values else {})}
    if is_typeddict(kind) or dataclasses.is_dataclass(kind):
        return _keys(kind, named)
    raise TypeError(f"no schema for {kind}")


def _keys(kind: Any, named: dict[str, Any]) -> dict[str, Any]:
    if kind.__name__ not in named:
        named[kind.__name__] = {}  # its place, before those that it needs
        hints = get_type_hints(kind, include_extras=True)
        named[kind.__name__] = {
            "type": "object",
            "properties": {key: _of(hint, named) for key, hint in hints.items()},
            "required": _required(kind),
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _required(kind: Any) -> list[str]:
    """Give what a file must have; what has an empty list as default was not always written."""
    if is_typeddict(kind):
        return list(kind.__annotations__)
    return [f.name for f in dataclasses.fields(kind) if f.default_factory is dataclasses.MISSING]


if __name__ == "__main__":
    PATH.write_text(schema_text(), encoding="utf-8")
