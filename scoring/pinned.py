"""Upstream's multiple-choice task files, read from verified bytes, and nothing beside them.

The group `medbench` names the tasks; each task is a file that puts the question, says how the
answer is found and compared (filter strict-final-answer: the first match), and where generation
stops. The kit changes three things, and no score with them: the documents come from the fetched
files instead of the hub (PubMedQA's under the names of the data set that was published on), the
end-of-turn tokens of the model stop generation too, and a pattern of upstream's that needs seconds
for 800 characters is matched by its linear twin (answers.py).

A task file can name code to run (the tag `!function`); one that does is refused. So is one with a
key that would change prompts or scores and that the kit does not carry out (task_keys.py).

The fork has two sets: April's, which the published evaluation was run with, and July's, which words
MedXpertQA anew and asks all 1,000 of PubMedQA's labelled items with their contexts joined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from checks.answers import LINEAR, PUBLISHED
from kit.errors import KitError, nearest
from scoring import task_keys
from scoring.mcq import BENCHMARKS, Question

__all__ = [
    "FILTER",
    "GROUP",
    "SETS",
    "answer",
    "check",
    "document",
    "mixture",
    "notes",
    "read_tasks",
    "render",
    "set_aside",
    "split",
]

#: The sets of task files, and which of PubMedQA's labelled items each asks: the 500 of the test
#: split, or all 1,000. The kit's own wording asks the 500 too.
SETS = {"upstream": "test", "upstream-2026-07": "labeled"}
#: What is to be said of a set that is not the published evaluation's.
_AFTER = {
    "upstream-2026-07": "task files of July 2026, after publication: the published scores are by "
    "those of April (eval.tasks=upstream), which word MedXpertQA and ask PubMedQA otherwise",
}
GROUP, FILTER = "medbench", "strict-final-answer"
INVALID = "[invalid]"  # what the harness's filter gives where nothing matches
#: What the group's tasks are called that the kit knows as benchmarks.
TASKS = {name: f"{name}_g" for name in BENCHMARKS}
#: Tasks of the group that lm-evaluation-harness brings itself.
BUILT_IN = ("mmlu_pro", "ifeval", "ai2_arc", "arc_challenge")
_KEPT = ("task", "output_type", "description", "doc_to_text", "doc_to_target", "target_delimiter",
         "fewshot_delimiter", "metric_list")  # fmt: skip
_RESTORE = "restore recipes/upstream.toml, or --set eval.tasks=kit for the kit's wording"


def split(tasks: str, pubmedqa: str) -> str:
    """Give which of PubMedQA's items are asked, "test" or "labeled"; "auto" is the set's own."""
    return SETS.get(tasks, "test") if pubmedqa == "auto" else pubmedqa


def notes(tasks: str, pubmedqa: str) -> list[str]:
    """Say what sets this protocol apart from the published one, where its words do."""
    return [words for words in (_AFTER.get(tasks, ""), mixture(tasks, pubmedqa)) if words]


def mixture(tasks: str, pubmedqa: str) -> str:
    """Say that one date's wording would be asked of the other date's items; empty where not so."""
    own, asked = SETS.get(tasks), split(tasks, pubmedqa)
    if own in (None, asked):
        return ""
    other = next(name for name, which in SETS.items() if which == asked)
    words = {"test": "the 500 of the test split", "labeled": "all 1,000 labelled items"}
    return (
        f"PubMedQA: {words[asked]} in the wording of eval.tasks={tasks}, whose own are "
        f"{words[str(own)]}: nobody's protocol, asked because eval.pubmedqa={pubmedqa} says so; "
        f"the one with these items is eval.tasks={other}"
    )


def read_tasks(files: Mapping[str, bytes], benchmarks: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Read the group and its tasks; gives lm-eval's configuration for each benchmark.

    Args:
        files: name -> bytes, each with the sha256 that was pinned. No other file is opened.
        benchmarks: which are wanted, by the kit's names.

    Returns:
        Configurations without documents, stops and lengths, which the run adds.

    Raises:
        KitError: a file is not YAML, asks to run code, or is not of the published form; the group
            is missing or names a task that no file defines; or it lacks a wanted one.
    """
    found = {name: _load(name, data) for name, data in files.items()}
    groups = {name: one for name, one in found.items() if one.get("group") == GROUP}
    if len(groups) != 1:
        raise KitError(
            f"{len(groups)} of upstream's task files define the group {GROUP}, one should",
            where=", ".join(files) or "no file",
            cause="the pins name other files than those of the published evaluation",
            fix="restore recipes/upstream.toml, then mfo fetch RECIPE",
        )
    ((group_file, group),) = groups.items()
    tasks = {str(one["task"]): (name, one) for name, one in found.items() if name != group_file}
    named = [str(name) for name in group.get("task") or []]
    for name in named:
        if name not in tasks and name not in BUILT_IN:
            raise KitError(
                f"the group {GROUP} names the task {name!r}, which no pinned file defines; "
                + nearest(name, tasks),
                where=group_file,
                cause="a task file is missing from the pins",
                fix=f"add the task's file to recipes/upstream.toml (defined are "
                f"{', '.join(tasks) or 'none'}), then mfo fetch RECIPE",
            )
    out = {}
    for benchmark in benchmarks:
        name = TASKS[benchmark]
        if name not in named:
            raise KitError(
                f"the group {GROUP} does not name {name!r}, the task of {benchmark}",
                where=group_file,
                cause=f"it names {', '.join(named) or 'no task'}",
                fix=_RESTORE,
            )
        out[benchmark] = _configuration(*tasks[name])
    return out


def set_aside(files: Mapping[str, bytes], benchmarks: Sequence[str]) -> list[str]:
    """Name the keys of the wanted tasks that are accepted and change neither prompts nor scores."""
    found = (_load(name, data) for name, data in files.items())
    wanted = {TASKS[benchmark] for benchmark in benchmarks}
    return sorted(
        {k for one in found if str(one.get("task")) in wanted for k in task_keys.set_aside(one)}
    )


def _load(name: str, data: bytes) -> dict[str, Any]:
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML without Python objects."""

    def refuse(_loader: Any, node: Any) -> Any:
        raise KitError(
            f"the task file asks to run code: !function {node.value}",
            where=name,
            cause="its sha256 is the pinned one, but the code that it names is not pinned",
            fix="pin a version of the file without it",
        )

    Loader.add_constructor("!function", refuse)
    try:
        value = yaml.load(data.decode("utf-8"), Loader)  # noqa: S506  a SafeLoader
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        raise KitError(
            "the task file is not valid YAML",
            where=name if line is None else f"{name}:{line + 1}",
            cause=str(getattr(error, "problem", None) or error)[:200],
            fix="restore recipes/upstream.toml, then mfo fetch RECIPE",
        ) from None
    if not isinstance(value, dict) or not ("group" in value or "task" in value):
        raise KitError(
            "this is not a task file",
            where=name,
            cause="it names neither a group nor a task",
            fix="restore recipes/upstream.toml, then mfo fetch RECIPE",
        )
    return value


def _configuration(name: str, task: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what decides the score."""
    filters, metrics = _named(task, "filter_list", "name"), _named(task, "metric_list", "metric")
    steps: Any = filters.get(FILTER, {}).get("filter")
    settings = task.get("generation_kwargs") or {}
    wrong = task_keys.objection(task)
    if wrong:
        pass
    elif FILTER not in filters:
        wrong = f"it has no filter {FILTER}"
    elif not isinstance(steps, list) or not all(
        isinstance(s, dict) and "function" in s for s in steps
    ):
        wrong = f"its filter {FILTER} is not a list of functions"
    elif task.get("output_type") != "generate_until" or list(metrics) != ["exact_match"]:
        wrong = "it does not generate an answer and compare it by exact_match"
    elif not all(isinstance(task.get(key), str) for key in ("doc_to_text", "doc_to_target")):
        wrong = "its doc_to_text or doc_to_target is not text"
    elif not isinstance(settings, dict):
        wrong = "its generation_kwargs are not a table"
    if wrong:
        raise KitError(
            f"the task file is not of the published form: {wrong}",
            where=name,
            cause="the pins name another version than that of the published evaluation",
            fix=_RESTORE,
        )
    out = {key: task[key] for key in _KEPT if key in task}
    out["filter_list"] = [{"name": FILTER, "filter": [_linear(step) for step in steps]}]
    out["generation_kwargs"] = dict(settings)
    return out


def _named(task: Mapping[str, Any], key: str, by: str) -> dict[str, dict[str, Any]]:
    listed = task.get(key)
    entries = listed if isinstance(listed, list) else ()
    return {str(one.get(by)): one for one in entries if isinstance(one, dict)}


def _linear(step: Mapping[str, Any]) -> dict[str, Any]:
    twins = {PUBLISHED[last]: LINEAR[last] for last in PUBLISHED}
    pattern = step.get("regex_pattern")
    return {**step, "regex_pattern": twins.get(pattern, pattern)} if pattern else dict(step)


def document(question: Question) -> dict[str, Any]:
    """Give an item under every name that upstream's task files ask for it.

    PubMedQA was published on bigbio's form of its fold 0, whose rows say QUESTION and CONTEXTS
    where the authors' own say question and context; texts and answers are the same.
    """
    row = dict(question.row)
    if question.benchmark == "pubmedqa":
        row |= {"QUESTION": row["question"], "CONTEXTS": list(row["context"]["contexts"])}
    return row


def render(task: Mapping[str, Any], questions: Iterable[Question]) -> list[str]:
    """Give the user's turn of each question as the harness will put it, and hold its answer.

    Args:
        task: a configuration that `read_tasks` gave.
        questions: items of the benchmark.

    Raises:
        KitError: the wording asks for a field that an item has not, or calls another answer right
            than the item does.
    """
    from jinja2 import TemplateError

    keys = ("description", "doc_to_text", "doc_to_target")
    out, gap = [], str(task.get("fewshot_delimiter", "\n\n"))
    made: list[Callable[[Mapping[str, Any]], str]] = []
    for question in questions:
        row = document(question)
        try:
            made = made or [_template(str(task.get(key, ""))) for key in keys]
            head, asked, right = (one(row) for one in made)
        except (TemplateError, LookupError, TypeError, ValueError) as error:
            raise _unfit(question, f"cannot put the item: {error}") from None
        if right != question.gold:
            raise _unfit(question, f"calls {right!r} right, the item {question.gold!r}")
        out.append(f"{head}{gap}{asked}" if head else asked)
    return out


def _template(text: str) -> Callable[[Mapping[str, Any]], str]:
    import re

    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    env = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    env.filters["regex_replace"] = lambda s, old, new, n=0: re.sub(old, new, s, count=n)
    made = env.from_string(text)
    # The harness takes a wording that is a field's name for that field.
    return lambda row: str(row[text]) if text in row else made.render(**row)


def _unfit(question: Question, why: str) -> KitError:
    return KitError(
        f"the task file of {question.benchmark} {why}",
        where=f"{question.benchmark}, item {question.id}",
        cause="the file is for another version of the benchmark than the one that is here",
        fix="fetch the revision that was published on, or --set eval.tasks=kit",
    )


def check(files: Mapping[str, bytes], questions: Mapping[str, Sequence[Question]]) -> int:
    """Read the task files and put every question by them; gives how many prompts that made.

    Raises:
        KitError: as `read_tasks` and `render`.
    """
    tasks = read_tasks(files, list(questions))
    return sum(len(render(tasks[name], items)) for name, items in questions.items())


def answer(sample: Mapping[str, Any]) -> str | None:
    """Give the letter that the task file's filter found in a logged sample, None for none."""
    found = str(sample["filtered_resps"][0])
    if found == INVALID:
        return None
    return found.upper() if found.isascii() else found
