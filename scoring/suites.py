"""The benchmarks that lm-evaluation-harness brings itself: MMLU-Pro, IFEval, ARC-Challenge.

Its own task files ask and score them; only the documents come from the fetched files, so that
nothing is downloaded. Native schemas, one JSON object a line:

    mmlu_pro        question_id, question, options [..10], answer (letter), category; beside it
                    mmlu_pro_fewshot.jsonl with cot_content: five of a category are shown first
    ifeval          key, prompt, instruction_id_list, kwargs
    arc_challenge   id, question, choices {text, label}, answerKey

IFEval's score is the strict one of the whole prompt; the others stand in the item. ARC's is `acc`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kit.errors import KitError
from kit.files import read_jsonl

__all__ = ["SUITES", "Suite", "fewshot_file", "read"]

LETTERS = "ABCDEFGHIJ"
_FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "mmlu_pro": {"question_id": (int, str), "question": str, "options": list, "answer": str,
                 "category": str},
    "ifeval": {"key": (int, str), "prompt": str, "instruction_id_list": list, "kwargs": list},
    "arc_challenge": {"id": (int, str), "question": str, "choices": dict, "answerKey": str},
}  # fmt: skip
SUITES = tuple(_FIELDS)
#: The filter of each task whose result is the answer.
FILTERS = {"mmlu_pro": "custom-extract", "ifeval": "none", "arc_challenge": "none"}
_SCORES = {
    "mmlu_pro": "exact_match",
    "ifeval": "prompt_level_strict_acc",
    "arc_challenge": "acc",
}
_MORE = {
    "mmlu_pro": (),
    "ifeval": ("inst_level_strict_acc", "prompt_level_loose_acc", "inst_level_loose_acc"),
    "arc_challenge": ("acc_norm",),
}


@dataclass(frozen=True)
class Suite:
    """One of these benchmarks as its file holds it.

    Attributes:
        name: of SUITES.
        rows: the items by id, in the file's order.
        examples: what is shown before each question; MMLU-Pro alone has any.
    """

    name: str
    rows: dict[str, dict[str, Any]]
    examples: tuple[dict[str, Any], ...] = ()


def fewshot_file(path: Path, name: str) -> Path:
    """Say where the examples of a benchmark lie: NAME_fewshot.jsonl beside its file."""
    return path.with_name(f"{name}_fewshot.jsonl")


def read(name: str, path: Path) -> Suite:
    """Read a benchmark's file, and its examples where it has any.

    Where lm-evaluation-harness is not installed (a login node whose jobs run in an image), what
    only it knows is checked by the stage itself: categories, instructions, IFEval's data.

    Raises:
        KitError: naming the line, for a field that is missing or of another type, an id that is
            there twice, an answer that is no option, a category without examples; or, for IFEval,
            naming what its checkers miss on this machine.
    """
    if name == "ifeval" and _harness_is_here():
        _check_ifeval()
    rows: dict[str, dict[str, Any]] = {}
    for number, row in read_jsonl(path, "benchmark file"):
        where = f"{path}:{number}"
        identity = _checked(name, row, where)
        if identity in rows:
            raise KitError(
                f"The id {identity!r} appears twice.",
                where=where,
                cause="each item may count once",
                fix="remove one of the lines",
            )
        rows[identity] = row
    if not rows:
        raise KitError("The benchmark has no items.", where=str(path), fix="fetch the file again")
    if name != "mmlu_pro":
        return Suite(name, rows)
    place = fewshot_file(path, name)
    examples = [row for _, row in read_jsonl(place, "file of MMLU-Pro's worked examples")]
    for number, row in enumerate(examples, 1):
        _checked(name, row, f"{place}, example {number}")
    lacking = {r["category"] for r in rows.values()} - {
        e["category"] for e in examples if isinstance(e.get("cot_content"), str)
    }
    if lacking:
        raise KitError(
            f"MMLU-Pro's category {min(lacking)!r} has no worked example",
            where=str(place),
            cause="each question is asked after five examples of its category (cot_content)",
            fix="fetch the validation split: mfo fetch RECIPE",
        )
    return Suite(name, rows, tuple(examples))


def _checked(name: str, row: Mapping[str, Any], where: str) -> str:
    for field, kind in _FIELDS[name].items():
        value = row.get(field)
        if not isinstance(value, kind) or isinstance(value, bool) or value in ("", [], {}):
            raise KitError(
                f"{field!r} is {str(value)[:40]!r}"
                if field in row
                else f"The field {field!r} is missing.",
                where=where,
                cause=f"an item of {name} has {', '.join(_FIELDS[name])}",
                fix="give the file in the benchmark's own schema",
            )
    wrong = ""
    if name == "mmlu_pro":
        options = row["options"]
        if not all(isinstance(o, str) for o in options) or len(options) > len(LETTERS):
            wrong = "options must be at most ten texts"
        elif row["answer"] not in LETTERS[: len(options)]:
            wrong = f"the answer {row['answer']!r} is none of its {len(options)} options"
        elif _harness_is_here() and row["category"] not in _subjects():
            wrong = f"{row['category']!r} is none of MMLU-Pro's categories"
    elif name == "ifeval":
        if len(row["kwargs"]) != len(row["instruction_id_list"]):
            wrong = "kwargs and instruction_id_list differ in length"
        elif _harness_is_here():
            known = _instructions()
            unknown = [i for i in row["instruction_id_list"] if i not in known]
            wrong = f"there is no instruction {unknown[0]!r}" if unknown else ""
    else:
        labels, texts = row["choices"].get("label"), row["choices"].get("text")
        if not isinstance(labels, list) or not isinstance(texts, list) or len(labels) != len(texts):
            wrong = "choices must hold as many labels as texts"
        elif row["answerKey"] not in labels:
            wrong = f"answerKey {row['answerKey']!r} is no label of its choices"
    if wrong:
        raise KitError(
            f"The item cannot be scored: {wrong}.",
            where=where,
            cause="another version of the data set, or a damaged file",
            fix="fetch the file again",
        )
    return str(row[next(iter(_FIELDS[name]))])


# --- what lm-evaluation-harness brings ------------------------------------------------------------


def _harness_is_here() -> bool:
    return find_spec("lm_eval") is not None


def _folder() -> Path:
    import lm_eval.tasks

    return Path(lm_eval.tasks.__file__).parent


def _subjects() -> dict[str, Path]:
    """MMLU-Pro's categories, and the task file of each."""
    found = (_folder() / "mmlu_pro").glob("mmlu_pro_*.yaml")
    return {p.stem.removeprefix("mmlu_pro_").replace("_", " "): p for p in found}


def _instructions() -> Mapping[str, object]:
    from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT

    return dict(INSTRUCTION_DICT)


def _check_ifeval() -> None:
    """Refuse before anything is generated what lm-eval's checkers would stumble over after it."""
    missing = [name for name in ("langdetect", "immutabledict", "nltk") if find_spec(name) is None]
    if missing:
        raise KitError(
            f"IFEval's checkers need the package {missing[0]}, which is not installed",
            where="benchmark ifeval",
            cause="lm-eval brings it with its extra [ifeval] alone",
            fix="pip install -c constraints.txt 'lm-eval[ifeval]'",
        )
    import nltk

    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        raise KitError(
            "IFEval's checkers need NLTK's data punkt_tab, which is not on this machine",
            where="benchmark ifeval",
            cause="it tells sentences apart, and NLTK would download it now; a run asks no network",
            fix="on a machine with a network: python -m nltk.downloader -d FOLDER punkt_tab; bring "
            "FOLDER here and export NLTK_DATA=FOLDER; or leave ifeval out of eval.benchmarks",
        ) from None


def configurations(suite: Suite) -> dict[str, dict[str, Any]]:
    """Give lm-eval's own configuration of each task that the items need, by the task's name."""
    folder = _folder()
    if suite.name == "mmlu_pro":
        wanted = {row["category"] for row in suite.rows.values()}
        files = [path for subject, path in sorted(_subjects().items()) if subject in wanted]
    else:
        files = [folder / suite.name.split("_")[0] / f"{suite.name}.yaml"]
    out = {}
    for path in files:
        task = _task_file(path)
        for key in ("dataset_path", "dataset_name", "training_split", "validation_split", "tag"):
            task.pop(key, None)
        task["test_split"] = "test"
        if suite.examples:
            task["fewshot_split"] = "validation"
        out[str(task["task"])] = task
    return out


def _task_file(path: Path) -> dict[str, Any]:
    """Read one of lm-eval's task files, with the functions that it names."""
    try:
        from lm_eval.tasks._yaml_loader import load_yaml
    except ImportError:  # up to 0.4.11, which Axolotl pins in the training image
        from lm_eval.utils import load_yaml_config

        return dict(load_yaml_config(path, mode="full"))
    return dict(load_yaml(path, resolve_func=True))


def score(name: str, identity: str, sample: Mapping[str, Any]) -> dict[str, Any]:
    """Turn one logged sample of the harness into a row of the kit's format."""
    doc = sample["doc"]
    response = str(sample["resps"][0][0]) if name != "arc_challenge" else None
    row: dict[str, Any] = {
        "benchmark": name,
        "id": identity,
        "score": int(sample[_SCORES[name]]),
        "repeat": 0,
        **{metric: sample[metric] for metric in _MORE[name]},
    }
    if name == "mmlu_pro":
        found = str(sample["filtered_resps"][0])
        row |= {
            "gold": doc["answer"],
            "answer": None if found == "[invalid]" else found,
            "options": dict(zip(LETTERS, doc["options"], strict=False)),
            "question": doc["question"],
            "category": doc["category"],
        }
    elif name == "ifeval":
        followed = sample["inst_level_strict_acc"]
        named = zip(doc["instruction_id_list"], followed, strict=True)
        row |= {
            "question": doc["prompt"],
            "why": "; ".join(f"{i}: {'followed' if ok else 'not followed'}" for i, ok in named),
        }
    else:
        likelihoods = [float(one[0]) for one in sample["filtered_resps"]]
        labels = doc["choices"]["label"]
        row |= {
            "gold": doc["answerKey"],
            "answer": labels[max(range(len(labels)), key=likelihoods.__getitem__)],
            "options": dict(zip(labels, doc["choices"]["text"], strict=True)),
            "question": doc["question"],
        }
    if response is not None:
        row["response"] = response
    return row
