"""Every key of an lm-evaluation-harness task file, and what it would change.

The keys are the fields of `TaskConfig` in lm-eval 0.4.11 to 0.4.13 (a test holds this list complete
against the installed one), and those that its loader takes out before. Three kinds:

    READ     the kit takes it over: it decides the prompt, the answer that is found, or the score
    INERT    read by the harness for something else: accepted, and what it says is left aside
    REFUSED  would change prompts or scores in a way that the kit does not carry out, or run code
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kit.errors import nearest

__all__ = ["INERT", "READ", "REFUSED", "objection", "set_aside"]

READ = frozenset({
    "task", "output_type", "description", "doc_to_text", "doc_to_target", "target_delimiter",
    "fewshot_delimiter", "generation_kwargs", "filter_list", "metric_list",
})  # fmt: skip
#: What else it is for. Documents come from the fetched files, so a data set's name moves nothing.
INERT = {
    "task_alias": "a name for people",
    "tag": "a name for people",
    "metadata": "a version for people",
    "dataset_path": "where the harness would fetch documents",
    "dataset_name": "where the harness would fetch documents",
    "dataset_kwargs": "how the harness would fetch documents",
    "training_split": "a split that is not asked",
    "validation_split": "a split that is not asked",
    "test_split": "which split the harness would ask",
    "fewshot_split": "examples, of which none is shown",
    "fewshot_config": "examples, of which none is shown",
    "should_decontaminate": "the harness's own search for documents in training data",
    "doc_to_decontamination_query": "the harness's own search for documents in training data",
}
#: What each would change; with the harness's default value it changes nothing and is accepted.
REFUSED: dict[str, tuple[object, str]] = {
    "custom_dataset": (None, "runs code that makes the documents"),
    "process_docs": (None, "runs code over the documents"),
    "process_results": (None, "runs code that scores"),
    "unsafe_code": (False, "lets the model's answers be run as code"),
    "doc_to_image": (None, "puts images before the question"),
    "doc_to_audio": (None, "puts sound before the question"),
    "doc_to_choice": (None, "makes the right answer a place in a list"),
    "use_prompt": (None, "takes the prompt from another library"),
    "num_fewshot": (None, "shows worked examples before the question"),
    "repeats": (1, "asks each question several times"),
    "gen_prefix": (None, "begins the answer for the model"),
    # Not fields of a task: what the harness's loader takes out of a file before.
    "include": (None, "takes keys from another file, which is not pinned"),
    "class": (None, "runs code in place of the task"),
}


def objection(task: Mapping[str, Any]) -> str:
    """Say why a task's keys cannot be taken over, and name the first; empty where they can."""
    for key, value in task.items():
        if key in READ or key in INERT:
            continue
        if key in REFUSED:
            default, effect = REFUSED[key]
            if value == default or (key == "num_fewshot" and value == 0):
                continue
            return f"it has the key {key!r}, which {effect}"
        known = [*READ, *INERT, *REFUSED]
        return (f"it has the key {key!r}, which neither lm-evaluation-harness nor the kit knows; "
                + nearest(str(key), known))  # fmt: skip
    return ""


def set_aside(task: Mapping[str, Any]) -> list[str]:
    """Name the keys that are accepted and change neither prompt nor score."""
    return [key for key in task if key in INERT]
