"""Ask a model the benchmarks' questions through lm-evaluation-harness, and keep every item.

The harness renders the chat template, batches and generates (greedily). Multiple choice is asked
in upstream's words (pinned.py) or in the kit's own, and read by one of the rules of answers.py;
what the harness brings itself (suites.py) it also scores. The same weights, items and settings
give the same responses, bit for bit.

Measured on two cores with the smoke recipe's model: about 15 s to import and load, then 2 s for
80 items of a trained model; an untrained one never ends its turn and takes max_gen_toks each time.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checks import answers
from kit.errors import KitError, nearest
from kit.files import sha256_file, write_jsonl
from scoring import kinds, pinned, suites
from scoring.mcq import Question, read_benchmark
from scoring.models import BACKENDS, load, release, turn_ends

__all__ = ["SPLITS", "WORDINGS", "check_protocol", "evaluate"]

#: Who words the questions: one of upstream's sets of pinned task files (the first is that of the
#: published evaluation), or the kit.
WORDINGS = (*pinned.SETS, "kit")
#: Which of PubMedQA's labelled items: those of the wording's date, the test split's 500, all 1,000.
SPLITS = ("auto", "test", "labeled")
#: The kit's own wording stands in each question's prompt; its answers are read by the kit.
_OWN_TASK = {
    "output_type": "generate_until",
    "doc_to_text": "{{prompt}}",
    "doc_to_target": "{{gold}}",
    "metric_list": [{"metric": "bypass"}],  # the harness's name for "none"
}
_ID = "mfo_id"  # what a document's own id is called in every schema


@dataclass(frozen=True)
class _Job:
    """One benchmark on its way through the harness.

    Attributes:
        name: of the benchmark.
        total: items in its file.
        digest: sha256 of the file.
        tasks: lm-eval's configuration by task, without documents.
        documents: by task, each with its id.
        examples: documents that are shown before each question.
        keep: the filter whose samples count.
        score: gives an item's row from its id and sample.
    """

    name: str
    total: int
    digest: str
    tasks: dict[str, dict[str, Any]]
    documents: dict[str, list[dict[str, Any]]]
    examples: Sequence[dict[str, Any]]
    keep: str
    score: Callable[[str, Mapping[str, Any]], dict[str, Any]]


def evaluate(
    model: Path,
    benchmarks: Mapping[str, Path],
    items_dir: Path,
    *,
    limit: int,
    seed: int,
    batch_size: int,
    max_gen_toks: int,
    max_length: int,
    dtype: str,
    chat_template: bool,
    device: str | None,
    log: Callable[[str], None],
    backend: str = "hf",
    tasks: str = "kit",
    task_files: Mapping[str, bytes] | None = None,
    extraction: str = "robust",
    pubmedqa: str = "auto",
) -> dict[str, dict[str, Any]]:
    """Score a model folder on benchmarks and write items_dir/<benchmark>.jsonl for each.

    Args:
        model: a folder that AutoModelForCausalLM and AutoTokenizer load (safetensors).
        benchmarks: name to file, as kinds.find_benchmarks gives them.
        items_dir: receives one file a benchmark, each in one move.
        limit: items per benchmark, a random sample drawn with `seed`; 0: all.
        batch_size: prompts generated at once.
        max_gen_toks: most tokens of a response. max_length: most tokens of prompt and response.
        dtype: of the weights while generating: float32, bfloat16, float16 or auto.
        chat_template: put each prompt as a user's turn; otherwise as bare text.
        device: "cpu", "cuda", "cuda:1"; None: the GPU where there is one.
        log: receives one line for each decision and benchmark.
        backend: one of models.BACKENDS.
        tasks: one of WORDINGS.
        task_files: upstream's verified files, by name, where `tasks` is one of its sets.
        extraction: how answers are read, one of answers.EXTRACTIONS.
        pubmedqa: one of SPLITS: "auto", "test" (the 500 published on) or "labeled" (all 1,000).

    Returns:
        By benchmark: items (asked), of (in the file), unparsed, score (mean of the items, 0..1),
        sha256 (of the benchmark's file), seconds.

    Raises:
        KitError: a benchmark, a task file or the model cannot be read, a name is unknown, or the
            harness lost an item.
    """
    # Read everything before the model: a broken file should not cost the loading of 27B weights.
    check_protocol(tasks=tasks, extraction=extraction, backend=backend, pubmedqa=pubmedqa)
    whole = pinned.split(tasks, pubmedqa) == "labeled"
    jobs = _jobs(benchmarks, limit, seed, tasks, task_files or {}, extraction, whole)
    with _offline():
        lm = load(model, backend=backend, batch_size=batch_size, max_length=max_length,
                  dtype=dtype, seed=seed, device=device, log=log)  # fmt: skip
        until = turn_ends(lm.tokenizer, model)
        log(f"a response ends at {', '.join(until) or 'the end-of-sequence token'}"
            f"{', where the task file says' if tasks in pinned.SETS else ''}, "
            f"or after {max_gen_toks:,} tokens")  # fmt: skip
        results = {}
        items_dir.mkdir(parents=True, exist_ok=True)
        try:
            for job in jobs:
                started = time.monotonic()
                items = _ask(lm, job, seed, until, max_gen_toks, chat_template)
                write_jsonl(items_dir / f"{job.name}.jsonl", items)
                results[job.name] = {
                    "items": len(items),
                    "of": job.total,
                    "unparsed": sum("answer" in item and item["answer"] is None for item in items),
                    "score": sum(item["score"] for item in items) / len(items),
                    "sha256": job.digest,
                    "seconds": round(time.monotonic() - started, 2),
                }
                log("{}: {:.1%} of {} items, {} without a readable answer, {:.0f} s".format(
                    job.name,
                    *(results[job.name][k] for k in ("score", "items", "unparsed", "seconds")),
                ))  # fmt: skip
        finally:
            release(lm)  # of its memory, which the next model or server needs
    return results


def check_protocol(*, tasks: str, extraction: str, backend: str, pubmedqa: str) -> None:
    """Refuse a protocol that has a name which is not known, and name the nearest.

    Args:
        tasks: one of WORDINGS.
        extraction: one of answers.EXTRACTIONS.
        backend: one of models.BACKENDS.
        pubmedqa: one of SPLITS.

    Raises:
        KitError: for the first that is unknown.
    """
    known: dict[str, tuple[str, Collection[str]]] = {
        "tasks": (tasks, WORDINGS),
        "extraction": (extraction, answers.EXTRACTIONS),
        "backend": (backend, BACKENDS),
        "pubmedqa": (pubmedqa, SPLITS),
    }
    for key, (given, names) in known.items():
        if given not in names:
            raise KitError(
                f"there is no {key} {given!r}; {nearest(given, names)}",
                where=f"eval.{key}",
                cause=f"known are {', '.join(names)}",
                fix=f"--set eval.{key}={next(iter(names))}",
            )


def _jobs(
    benchmarks: Mapping[str, Path],
    limit: int,
    seed: int,
    wording: str,
    files: Mapping[str, bytes],
    rule: str,
    every: bool,
) -> list[_Job]:
    choice = [name for name in benchmarks if name not in suites.SUITES]
    theirs = pinned.read_tasks(files, choice) if wording in pinned.SETS and choice else {}
    out = []
    for name, path in benchmarks.items():
        if name in suites.SUITES:
            out.append(_suite_job(suites.read(name, path), path, limit, seed))
        else:
            questions = read_benchmark(path, name, every=every)
            out.append(_choice_job(name, path, questions, theirs.get(name), rule, limit, seed))
    return out


def _choice_job(
    name: str,
    path: Path,
    questions: list[Question],
    theirs: dict[str, Any] | None,
    rule: str,
    limit: int,
    seed: int,
) -> _Job:
    drawn = {question.id: question for question in kinds.draw(questions, limit, seed, name)}
    task = theirs or {**_OWN_TASK, "task": f"mfo_{name}"}
    if theirs:
        documents = [{**pinned.document(q), _ID: q.id} for q in drawn.values()]
    else:
        documents = [{_ID: q.id, "prompt": q.prompt, "gold": q.gold} for q in drawn.values()]

    def score(identity: str, sample: Mapping[str, Any]) -> dict[str, Any]:
        question, response = drawn[identity], str(sample["resps"][0][0])
        if theirs and rule == "published":
            # To the last digit: what the task file's own filter found and the harness compared.
            answer, right = pinned.answer(sample), bool(sample["exact_match"])
        else:
            answer = answers.EXTRACTIONS[rule](response, question.options)
            right = answer == question.gold
        row = {
            "benchmark": name,
            "id": identity,
            "score": int(right),
            "repeat": 0,
            "gold": question.gold,
            "answer": answer,
            "question": str(_leaf(sample["arguments"])) if theirs else question.prompt,
            "options": question.options,
            "response": response,
        }
        return row if question.listed is None else {**row, "listed": question.listed}

    return _Job(
        name=name,
        total=len(questions),
        digest=sha256_file(path),
        tasks={task["task"]: task},
        documents={task["task"]: documents},
        examples=(),
        keep=pinned.FILTER if theirs else "none",
        score=score,
    )


def _suite_job(suite: suites.Suite, path: Path, limit: int, seed: int) -> _Job:
    chosen = kinds.draw(list(suite.rows), limit, seed, suite.name)
    rows = {identity: suite.rows[identity] for identity in chosen}
    part = suites.Suite(suite.name, rows, suite.examples)
    documents = [{**row, _ID: identity} for identity, row in rows.items()]
    tasks = suites.configurations(part)
    return _Job(
        name=suite.name,
        total=len(suite.rows),
        digest=sha256_file(path),
        tasks=tasks,
        # Each task takes its own category out of them (process_docs).
        documents=dict.fromkeys(tasks, documents),
        examples=suite.examples,
        keep=suites.FILTERS[suite.name],
        score=lambda identity, sample: suites.score(suite.name, identity, sample),
    )


@contextmanager
def _offline() -> Iterator[None]:
    """Keep every library from asking the network: the model and the items are on disk."""
    wanted = {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _ask(
    lm: Any, job: _Job, seed: int, until: list[str], max_gen_toks: int, chat_template: bool
) -> list[dict[str, Any]]:
    """Run one benchmark's tasks through the harness; gives the items in the documents' order."""
    import lm_eval
    from jinja2 import TemplateError
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False)
    for name in job.tasks:  # the harness prints where each task was read from
        manager.task_index[name] = _Named({"type": "task", "yaml_path": name})
    try:
        output = lm_eval.simple_evaluate(
            model=lm,
            tasks=[_task(job, name, until, max_gen_toks) for name in job.tasks],
            task_manager=manager,
            apply_chat_template=chat_template,
            # As lm-eval did by default when the paper was made: examples and question in one turn.
            fewshot_as_multiturn=False,
            log_samples=True,
            bootstrap_iters=0,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
    except TemplateError as error:
        raise KitError(
            f"the task file's wording does not fit the items: {error}",
            where=f"{job.name}: {', '.join(job.tasks)}",
            cause="it asks for a field that this version of the benchmark has not",
            fix="fetch the revision that was published on, or --set eval.tasks=kit",
        ) from None
    items = {}
    for name in job.tasks:
        for sample in output["samples"][name]:
            if sample["filter"] == job.keep:
                identity = str(sample["doc"][_ID])
                items[identity] = job.score(identity, sample)
    wanted = [str(doc[_ID]) for doc in next(iter(job.documents.values()))]
    if missing := [identity for identity in wanted if identity not in items]:
        raise KitError(
            f"The harness gave no response for {len(missing)} items, {missing[0]} first.",
            where=job.name,
            cause="another version of lm-evaluation-harness than the kit's pin",
            fix='install the pin: pip install -e ".[eval]" (lm-eval 0.4.11)',
        )
    return [items[identity] for identity in wanted]


def _task(job: _Job, name: str, until: list[str], max_gen_toks: int) -> Any:
    """Make the harness's task: its configuration, and what the run decides beside it."""
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask

    # Copied, because the harness takes keys out; functions in it stay the same.
    task = copy.deepcopy(job.tasks[name])
    if job.examples:  # MMLU-Pro's tasks filter their category out of a data set
        splits = {
            "test": Dataset.from_list(job.documents[name]),
            "validation": Dataset.from_list(list(job.examples)),
        }
    else:
        splits = {"test": _Documents(job.documents[name])}
    task["test_split"] = "test"
    if task["output_type"] == "generate_until":
        settings = task.setdefault("generation_kwargs", {})
        settings["until"] = list(dict.fromkeys([*(settings.get("until") or []), *until]))
        settings["max_gen_toks"] = min(int(settings.get("max_gen_toks", max_gen_toks)),
                                       max_gen_toks)  # fmt: skip
        settings |= {"do_sample": False, "temperature": 0.0}
    task.setdefault("num_fewshot", 0)

    class Given(ConfigurableTask):  # type: ignore[misc]
        def download(self, *_: Any, **__: Any) -> None:
            self.dataset = splits

    return Given(config=task)


class _Named(dict[str, str]):
    """A task's entry in the harness's index: lm-eval 0.4.11 reads keys, 0.4.12 and newer this."""

    yaml_path = None  # 0.4.12 and newer: made by a program, not read from a file


class _Documents(list[dict[str, Any]]):
    """Documents as they were read: a table of columns would fill in what a row lacks."""

    @property
    def features(self) -> dict[str, None]:
        return dict.fromkeys(self[0])


def _leaf(value: Any) -> Any:
    """Take the prompt out of the harness's {"gen_args_0": {"arg_0": ...}} or tuples."""
    while isinstance(value, (list, tuple, dict)) and value:
        value = next(iter(value.values())) if isinstance(value, dict) else value[0]
    return value
