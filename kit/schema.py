"""What a file may say, as types: checked by msgspec, refused in words.

A file's content is a `Table` (a msgspec Struct that knows no other keys) whose fields are typed:
`Count`, `Amount`, `Literal` for a choice of words, further tables. `convert` gives it, or a
KitError that names the key by its path, what it takes, and the nearest name. Importing this costs
what importing msgspec costs, some 10 ms: modules that `mfo --help` or `mfo status` load import it
where a file is read.
"""

from __future__ import annotations

import difflib
import functools
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union

import msgspec
from msgspec import UNSET, Meta, UnsetType

from kit.errors import KitError, nearest

T = TypeVar("T")
#: A key that may be left out, where a default would say too much.
Maybe = Union[T, UnsetType]  # noqa: UP007 - a generic alias
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Amount = Annotated[float, Meta(ge=0)]
Sha256 = Annotated[
    str,
    Meta(pattern="^[0-9a-f]{64}$", max_length=64, description="a sha256, 64 hexadecimal digits"),
]
Commit = Annotated[
    str,
    Meta(pattern="^[0-9a-f]{40}$", max_length=40, description="a commit, 40 hexadecimal digits"),
]

_SHOWN = 80
_KINDS: dict[object, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    list: "a list",
    tuple: "a list",
    dict: "a table",
    Any: "anything",
}


class Table(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A table of a file: it has these keys and no others."""


def convert(data: object, kind: type[T], *, where: str, what: str, fix: str = "") -> T:
    """Check what was read from a file, and give it typed.

    Args:
        data: as tomllib or json read it.
        kind: the type that it must have.
        where: the file or flag, for errors.
        what: the file in words, named where it is no table at all.
        fix: the next command, for errors.

    Raises:
        KitError: an unknown or a missing key, or a value that its key does not take; the first one.
    """
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError:
        fault = next(_faults(data, kind, "", kind))
        about = what if fault.startswith(" ") else ""  # of the file itself, not of a key
        raise KitError(about + fault, where=where, fix=fix) from None


@functools.cache
def closed(kind: type, without: tuple[str, ...] = ()) -> type[Any]:
    """Give the Struct of a dataclass: its fields but those, no others, and no number below 0.

    For classes of modules that must not import msgspec; `Annotated` is msgspec's to read.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    numbers: dict[object, object] = {int: Count, float: Amount}
    rows: list[tuple[Any, ...]] = []
    for field in fields(kind):
        if field.name in without:
            continue
        row: tuple[Any, ...] = (field.name, numbers.get(hints[field.name], hints[field.name]))
        if field.default_factory is not MISSING:
            row += (msgspec.field(default_factory=field.default_factory),)
        elif field.default is not MISSING:
            row += (field.default,)
        rows.append(row)
    return msgspec.defstruct(kind.__name__, rows, forbid_unknown_fields=True, kw_only=True)


def names(kind: Any, prefix: str = "") -> list[str]:
    """Give the dotted names of a table's keys, those of the tables in it too."""
    out = []
    for field in msgspec.structs.fields(kind) if _is_table(kind) else ():
        inner = _bare(field.type)
        table = _is_table(inner)
        out += names(inner, f"{prefix}{field.encode_name}.") if table else []
        out += [] if table else [f"{prefix}{field.encode_name}"]
    return out


def words(kind: Any) -> str:
    """Say what values a type takes."""
    base, metas = _unwrapped(kind)
    said = next((m.description for m in metas if m.description), "")
    if said:
        return said
    origin = typing.get_origin(base)
    if origin is Literal:
        return _either([str(word) for word in typing.get_args(base)])
    if origin in (Union, UnionType):
        return _either([words(one) for one in _members(base)])
    if origin is tuple and Ellipsis not in typing.get_args(base):
        return f"[{', '.join(words(one) for one in typing.get_args(base))}]"
    out = "a table" if _is_table(base) else _KINDS.get(origin or base, str(base))
    for meta in metas:
        out += f" >= {meta.ge}" if meta.ge is not None else ""
        out += f" <= {meta.le}" if meta.le is not None else ""
        out += f" above {meta.gt}" if meta.gt is not None else ""
        out += f" below {meta.lt}" if meta.lt is not None else ""
        out += " that is not empty" if meta.min_length else ""
    return out


def _faults(value: object, kind: Any, path: str, root: Any) -> Iterator[str]:
    """Give in words what is wrong with a value, the deepest places first; nothing: it fits."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        pass
    else:
        return
    base = _fitting(value, kind)
    arguments, origin = typing.get_args(base), typing.get_origin(base)
    if _is_table(base) and isinstance(value, Mapping):
        known = {field.encode_name: field for field in msgspec.structs.fields(base)}
        for key in value:
            if key not in known:
                near = _near(path, key, known, root)
                yield f"unknown key {_joined(path, key)!r}; {near}"
        for name, field in known.items():
            if name in value:
                yield from _faults(value[name], field.type, _joined(path, name), root)
            elif field.required:
                yield f"{_joined(path, name)} is missing; it takes {words(field.type)}"
    elif origin is dict and isinstance(value, Mapping):
        for key, one in value.items():
            yield from _faults(key, arguments[0], f"a key of {path}", root)
            yield from _faults(one, arguments[1], _joined(path, key), root)
    elif isinstance(value, list) and (items := _items(value, base)) is not None:
        for number, (one, inner) in enumerate(items):
            yield from _faults(one, inner, f"{path}[{number}]", root)
    shown = repr(value)
    shown = shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
    near = ""
    if typing.get_origin(base) is Literal and isinstance(value, str):
        said = nearest(value, map(str, arguments))
        near = f"; {said}" if said.startswith("nearest") else ""  # the known ones are named before
    yield f"{path} takes {words(kind)}, not {shown}{near}"


def _items(value: list[Any], base: Any) -> list[tuple[Any, Any]] | None:
    """Pair a list's items with their types; None where its length is wrong, or any item goes."""
    arguments = typing.get_args(base)
    if not arguments or typing.get_origin(base) not in (list, tuple):
        return None
    if typing.get_origin(base) is tuple and Ellipsis not in arguments:
        return list(zip(value, arguments, strict=True)) if len(value) == len(arguments) else None
    return [(one, arguments[0]) for one in value]


def _near(path: str, key: object, known: Iterable[str], root: Any) -> str:
    """Say what a mistyped key may have meant: one of its table, else of the tables beside it."""
    if close := difflib.get_close_matches(str(key), known, n=3):
        return "nearest: " + ", ".join(_joined(path, name) for name in close)
    own = {_joined(path, name) for name in known}
    every = {name for name in names(root) if name.count(".") == path.count(".") + 1}
    return nearest(_joined(path, key), own | every if path and own & every else own)


def _joined(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _fitting(value: object, kind: Any) -> Any:
    """Give a type without its annotations; of a union, the one member that looks like the value."""
    base = _bare(kind)
    if typing.get_origin(base) not in (Union, UnionType):
        return base
    like = [one for one in map(_bare, _members(base)) if _looks(value, one)]
    return like[0] if len(like) == 1 else base


def _looks(value: object, base: Any) -> bool:
    if isinstance(value, Mapping):
        return _is_table(base) or (typing.get_origin(base) or base) is dict
    return isinstance(value, list) and (typing.get_origin(base) or base) in (list, tuple)


def _bare(kind: Any) -> Any:
    """Take annotations away, and what only says that a key may be missing."""
    base, _ = _unwrapped(kind)
    members = _members(base)
    return _bare(members[0]) if len(members) == 1 else base


def _members(base: Any) -> list[Any]:
    if typing.get_origin(base) not in (Union, UnionType):
        return []
    return [one for one in typing.get_args(base) if one not in (UnsetType, NoneType)]


def _unwrapped(kind: Any) -> tuple[Any, list[Meta]]:
    """Give a type and its constraints, without what only says that a key may be missing."""
    metas: list[Meta] = []
    while True:
        members = _members(kind)
        if len(members) == 1:
            kind = members[0]
        elif typing.get_origin(kind) is Annotated:
            kind, *more = typing.get_args(kind)
            metas += [one for one in more if isinstance(one, Meta)]
        else:
            return kind, metas


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _either(choices: list[str]) -> str:
    quoted = [one or '""' for one in choices]
    return " or ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))


__all__ = ["UNSET", "Amount", "Commit", "Count", "Maybe", "Meta", "Positive", "Sha256", "Table",
           "closed", "convert", "names", "words"]  # fmt: skip
