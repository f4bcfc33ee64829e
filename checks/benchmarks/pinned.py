"""Upstream's multiple-choice task files, read from verified bytes, and nothing beside them.

The group `medbench` names the tasks; each task is a file that puts the question, says how the
answer is found and compared (filter strict-final-answer: the first match), and where generation
stops. The kit changes three things, and no score with them: the documents come from the fetched
files instead of the hub (PubMedQA's under the names of the data set that was published on), the
end-of-turn tokens of the model stop generation too, and a pattern of upstream's that needs seconds
for 800 characters is matched by its linear twin (answers.py).

A task file can name code to run (the tag `!function`); one that does is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from checks.benchmarks.answers import LINEAR, PUBLISHED
from checks.benchmarks.mcq import BENCHMARKS, Question
from checks.errors import KitError
from checks.tables import nearest

__all__ = ["FILTER", "GROUP", "answer", "document", "read_tasks"]

GROUP, FILTER = "medbench", "strict-final-answer"
INVALID = "[invalid]"  # what the harness's filter gives where nothing matches
#: What the group's tasks are called that the kit knows as benchmarks.
TASKS = {name: f"{name}_g" for name in BENCHMARKS}
#: Tasks of the group that lm-evaluation-harness brings itself.
BUILT_IN = ("mmlu_pro", "ifeval", "ai2_arc", "arc_challenge")
# A key that is not here could change what is asked or run code: it is refused, not ignored.
_KEYS = {
    "task", "task_alias", "tag", "dataset_path", "dataset_name", "dataset_kwargs", "output_type",
    "training_split", "validation_split", "test_split", "fewshot_split", "num_fewshot",
    "description", "doc_to_text", "doc_to_target", "doc_to_choice", "target_delimiter",
    "fewshot_delimiter", "generation_kwargs", "filter_list", "metric_list", "metadata",
}  # fmt: skip
_KEPT = ("task", "output_type", "description", "doc_to_text", "doc_to_target", "target_delimiter",
         "metric_list")  # fmt: skip


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
                fix="restore recipes/upstream.toml, or --set eval.tasks=kit for the kit's wording",
            )
        out[benchmark] = _configuration(*tasks[name])
    return out


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
    filters = {f.get("name"): f for f in task.get("filter_list") or () if isinstance(f, dict)}
    metrics = [m.get("metric") for m in task.get("metric_list") or () if isinstance(m, dict)]
    wrong = ""
    if unknown := sorted(map(str, task.keys() - _KEYS)):
        wrong = f"it has the key {unknown[0]!r}, which the kit does not know"
    elif FILTER not in filters:
        wrong = f"it has no filter {FILTER}"
    elif task.get("output_type") != "generate_until" or metrics != ["exact_match"]:
        wrong = "it does not generate an answer and compare it by exact_match"
    elif task.get("num_fewshot"):
        wrong = "it is not zero-shot"
    if wrong:
        raise KitError(
            f"the task file is not of the published form: {wrong}",
            where=name,
            cause="the pins name another version than that of the published evaluation",
            fix="restore recipes/upstream.toml, or --set eval.tasks=kit for the kit's wording",
        )
    out = {key: task[key] for key in _KEPT if key in task}
    steps = [_linear(step) for step in filters[FILTER]["filter"]]
    out["filter_list"] = [{"name": FILTER, "filter": steps}]
    out["generation_kwargs"] = dict(task.get("generation_kwargs") or {})
    return out


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


def answer(sample: Mapping[str, Any]) -> str | None:
    """Give the letter that the task file's filter found in a logged sample, None for none."""
    found = str(sample["filtered_resps"][0])
    if found == INVALID:
        return None
    return found.upper() if found.isascii() else found
