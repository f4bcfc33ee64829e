"""The prompts of graders and judges: read out of pinned source files, never run, never held here.

Upstream's prompts are string constants in Python files. They are found in the file's syntax tree;
nothing of the file is executed. The caller has checked the file's sha256. A recipe may name a file
of its own instead: text for a grader, TOML for a judge (see recipes/smoke/judged).

What comes from models is filled in at once, in one pass: an answer that holds the mark of another
field is text like any other.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.errors import KitError

__all__ = ["GRADER_FIELDS", "JudgePrompt", "fill", "read_grader", "read_judge"]

GRADER_FIELDS = ("conversation", "rubric_item")
JUDGE_FIELDS = ("prompt", "first", "second")


@dataclass(frozen=True)
class JudgePrompt:
    """How a judge is asked to compare two answers.

    Attributes:
        system: the system turn.
        user: the user turn with the fields <<prompt>>, <<first>> and <<second>>.
        criteria: names of the scores that are asked for, in order.
    """

    system: str
    user: str
    criteria: tuple[str, ...]

    def messages(self, prompt: str, first: str, second: str) -> list[dict[str, str]]:
        """Give the turns for one comparison."""
        fields = {"prompt": prompt, "first": first, "second": second}
        return [
            {"role": "system", "content": self.system},
            {"role": "user", "content": fill(self.user, fields)},
        ]


def fill(template: str, fields: Mapping[str, str]) -> str:
    """Put texts in the place of <<name>>, each mark of the template once and no mark of a text."""
    marks = re.compile("|".join(re.escape(f"<<{name}>>") for name in fields))
    return marks.sub(lambda m: fields[m.group()[2:-2]], template)


def read_grader(path: Path) -> str:
    """Read a rubric grader's template: a text file, or GRADER_TEMPLATE of a Python file.

    Raises:
        KitError: the file has none, or its template lacks a field.
    """
    text = _read(path)
    template = _constant(_tree(text, path), "GRADER_TEMPLATE") if path.suffix == ".py" else text
    if not isinstance(template, str):
        raise _not_there("GRADER_TEMPLATE", path)
    _check(template, GRADER_FIELDS, path)
    return template.strip()


def read_judge(path: Path) -> JudgePrompt:
    """Read a judge's prompt: a TOML file (system, user, criteria), or upstream's Python file.

    In a Python file these are JUDGE_SYSTEM_PROMPT, CRITERIA, and the f-string that
    build_judge_user_content returns, whose three arguments are prompt, first and second answer.

    Raises:
        KitError: one of them is not there.
    """
    text = _read(path)
    system: Any
    criteria: Any
    user: Any
    if path.suffix == ".py":
        tree = _tree(text, path)
        system, criteria = _constant(tree, "JUDGE_SYSTEM_PROMPT"), _constant(tree, "CRITERIA")
        user = _f_string(tree, "build_judge_user_content")
    else:
        try:
            raw = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise KitError(f"the judge's prompt is not TOML: {error}", where=str(path)) from None
        system, criteria, user = (raw.get(k) for k in ("system", "criteria", "user"))
    named = isinstance(criteria, list) and criteria and all(isinstance(c, str) for c in criteria)
    for name, right in (("system", isinstance(system, str)), ("criteria", named),
                        ("user", isinstance(user, str))):  # fmt: skip
        if not right:
            raise _not_there(name, path)
    _check(user, JUDGE_FIELDS, path)
    return JudgePrompt(system, user, tuple(criteria))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise KitError(f"the prompt cannot be read: {error}", where=str(path)) from None


def _tree(text: str, path: Path) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise KitError(f"this is not Python: {error}", where=str(path)) from None


def _constant(tree: ast.Module, name: str) -> object:
    """Give the literal that a module assigns to a name; a strip() behind it is carried out."""
    for node in tree.body:
        if not isinstance(node, ast.Assign):
            continue
        if not any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            continue
        value = node.value
        stripped = (
            isinstance(value, ast.Call)
            and isinstance(value.func, ast.Attribute)
            and value.func.attr == "strip"
            and not value.args
        )
        try:
            literal = ast.literal_eval(value.func.value if stripped else value)  # type: ignore[attr-defined]
        except ValueError:
            return None
        return literal.strip() if stripped and isinstance(literal, str) else literal
    return None


def _f_string(tree: ast.Module, function: str) -> str | None:
    """Give the f-string that a function returns, its three arguments as <<marks>>."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef) or node.name != function:
            continue
        marks = dict(zip((a.arg for a in node.args.args), JUDGE_FIELDS, strict=False))
        for inner in ast.walk(node):
            if isinstance(inner, ast.Return) and isinstance(inner.value, ast.JoinedStr):
                return _joined(inner.value, marks)
    return None


def _joined(node: ast.JoinedStr, marks: Mapping[str, str]) -> str | None:
    out = []
    for part in node.values:
        if isinstance(part, ast.Constant):
            out.append(str(part.value))
        elif (
            isinstance(part, ast.FormattedValue)
            and isinstance(part.value, ast.Name)
            and part.value.id in marks
        ):
            out.append(f"<<{marks[part.value.id]}>>")
        else:
            return None
    return "".join(out)


def _check(template: str, fields: tuple[str, ...], path: Path) -> None:
    lacking = [f"<<{name}>>" for name in fields if f"<<{name}>>" not in template]
    if lacking:
        raise KitError(
            f"the template has no place for {', '.join(lacking)}",
            where=str(path),
            cause="another file than the grader's or judge's own",
        )


def _not_there(name: str, path: Path) -> KitError:
    return KitError(
        f"the file holds no {name}",
        where=str(path),
        cause="another version of upstream's file, or not the file of that name",
        fix="recipes/upstream.toml names the file and the commit; mfo fetch brings it",
    )
