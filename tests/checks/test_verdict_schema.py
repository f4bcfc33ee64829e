"""The schema on file is the one that the types give, and says what a type says."""

import json
from dataclasses import dataclass, field
from typing import Annotated, TypedDict

import pytest

from checks.verdict_schema import PATH, schema, schema_text


def test_the_schema_on_file_is_generated_from_the_types() -> None:
    assert PATH.read_text(encoding="utf-8") == schema_text(), "python -m checks.verdict_schema"


class Inner(TypedDict):
    share: float | None


@dataclass(frozen=True, kw_only=True)
class Outer:
    """A head."""

    kept: Annotated[int, ("minimum", 0), "how many"]
    inner: Inner | None
    later: list[str] = field(default_factory=list)


def test_descriptions_bounds_and_what_was_not_always_written_are_in_the_schema() -> None:
    found = schema(Outer)
    assert found["description"] == "A head."
    kept = {"type": "integer", "minimum": 0, "description": "how many"}
    assert found["properties"]["kept"] == kept
    assert found["required"] == ["kept", "inner"]
    assert found["additionalProperties"] is False
    assert found["properties"]["inner"]["oneOf"][0] == {"$ref": "#/$defs/Inner"}
    assert found["$defs"]["Inner"]["properties"]["share"] == {"type": ["number", "null"]}


def test_a_type_without_a_schema_is_refused() -> None:
    @dataclass
    class Odd:
        number: complex

    with pytest.raises(TypeError, match="complex"):
        schema(Odd)


def test_old_verdicts_without_the_readings_by_other_rules_are_verdicts_still() -> None:
    found = json.loads(PATH.read_text(encoding="utf-8"))
    assert "sensitivity" in found["properties"]
    assert "sensitivity" not in found["required"]
