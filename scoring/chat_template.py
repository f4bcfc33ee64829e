"""A folder's chat template: where it lies, and whether it says what a user said.

A template is a program of whoever published the model: it is rendered in Jinja's sandbox, as
transformers does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from kit.errors import KitError

__all__ = ["check", "read", "special_tokens"]

_PROBE = "Which organ does it act on?"


class _Generation(Extension):
    """The block by which transformers marks what the model wrote: rendered as it stands."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own way

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Give the block's inside."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def read(folder: Path) -> str | None:
    """Give the template that transformers would use; None where the folder brings none."""
    if (folder / "chat_template.jinja").is_file():
        try:
            return (folder / "chat_template.jinja").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return ""
    for name in ("chat_template.json", "tokenizer_config.json"):
        try:
            found = json.loads((folder / name).read_text(encoding="utf-8")).get("chat_template")
        except (OSError, ValueError, AttributeError, RecursionError):
            continue
        if isinstance(found, list):  # several, by name: one is called default
            found = next((t.get("template") for t in found
                          if isinstance(t, dict) and t.get("name") == "default"), None)  # fmt: skip
        if isinstance(found, str):
            return found
    return None


def special_tokens(settings: Mapping[str, Any]) -> dict[str, str]:
    """Give a tokenizer_config.json's special tokens: bos_token, eos_token and their like."""
    found = {}
    for key, value in settings.items():
        text = value.get("content") if isinstance(value, dict) else value
        if key.endswith("_token") and isinstance(text, str):
            found[key] = text
    return found


def check(folder: Path, what: str, template: str | None) -> None:
    """Let a template say one user's turn.

    Raises:
        KitError: there is none, it is none, or it leaves out what was said.
    """
    if template is None:
        raise KitError(
            f"{what} has no chat template, and is to be asked in turns",
            where=str(folder),
            cause="a pretrained base that was never taught turns, or a tokenizer saved without it",
            fix="put its chat_template.jinja into the folder, or score without turns: "
            "--set eval.chat_template=false, and no judged benchmark in eval.benchmarks",
        )
    try:
        said = _render(folder, template)
    except TemplateSyntaxError as error:
        raise _refused(
            folder, what, f"is no Jinja template: line {error.lineno}: {error}"
        ) from None
    except (
        TemplateError,
        TypeError,
        ValueError,
        ArithmeticError,
        LookupError,
        RecursionError,
    ) as error:
        raise _refused(folder, what, f"refuses a user's turn: {error}") from None
    if _PROBE not in said:
        raise _refused(folder, what, "leaves out what the user says")


def _refused(folder: Path, what: str, why: str) -> KitError:
    return KitError(
        f"{what}: its chat template {why[:300]}",
        where=str(folder),
        cause="another model's template, or a changed one",
        fix="copy the template that the weights were trained with, as chat_template.jinja",
    )


def _render(folder: Path, template: str) -> str:
    def refuse(message: str) -> None:
        raise TemplateError(message)

    def today(form: str) -> str:
        return datetime.now(UTC).strftime(form)

    world = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    world.globals |= {"raise_exception": refuse, "strftime_now": today}
    world.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = {}
    tokens = special_tokens(settings) if isinstance(settings, dict) else {}
    return world.from_string(template).render(
        messages=[{"role": "user", "content": _PROBE}], add_generation_prompt=True, tools=None,
        documents=None, **tokens,
    )  # fmt: skip
