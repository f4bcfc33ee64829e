"""Ask a model the multiple-choice questions through lm-evaluation-harness, and keep every item.

The harness renders the chat template, batches and generates (greedily); reading and scoring the
answers is mcq.py's. The same weights, items and settings give the same responses, bit for bit.

Measured on two cores with the smoke recipe's model: about 15 s to import and load, then 2 s for
80 items of a trained model; an untrained one never ends its turn and takes max_gen_toks each time.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from checks.benchmarks.answers import extract_answer
from checks.benchmarks.mcq import Question, read_benchmark
from checks.errors import KitError

TEMPLATE = Path(__file__).with_name("mcq.yaml")
# Tokens that end a turn in the chat formats of the six models, where they are special tokens.
_TURN_ENDS = ("<end_of_turn>", "<|im_end|>", "<|eot_id|>", "<|assistant_end|>", "<|endoftext|>")


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

    Returns:
        By benchmark: items (asked), of (in the file), unparsed, accuracy (0..1), sha256 (of the
        benchmark's file), seconds.

    Raises:
        KitError: a benchmark or the model cannot be read, or the harness lost an item.
    """
    # Read everything before the model: a broken file should not cost the loading of 27B weights.
    drawn = {}
    for name, path in benchmarks.items():
        questions = read_benchmark(path, name)
        drawn[name] = (_draw(questions, limit, seed, name), len(questions), _sha256(path))
    with _offline():
        lm = _load(model, batch_size, max_length, dtype, device, log)
        until = _turn_ends(lm.tokenizer, model)
        log(f"a response ends at {', '.join(until) or 'the end-of-sequence token'}, "
            f"or after {max_gen_toks:,} tokens")  # fmt: skip
        results = {}
        for name, (questions, total, digest) in drawn.items():
            started = time.monotonic()
            responses = _generate(
                lm, name, questions, items_dir, seed, until, max_gen_toks, chat_template
            )
            items = [_score(question, responses[question.id]) for question in questions]
            _write_lines(items_dir / f"{name}.jsonl", items)
            results[name] = {
                "items": len(items),
                "of": total,
                "unparsed": sum(item["answer"] is None for item in items),
                "accuracy": sum(item["score"] for item in items) / len(items),
                "sha256": digest,
                "seconds": round(time.monotonic() - started, 2),
            }
            log("{}: {:.1%} of {} items, {} without a readable answer, {:.0f} s".format(
                name, *(results[name][k] for k in ("accuracy", "items", "unparsed", "seconds"))
            ))  # fmt: skip
    return results


def _draw(questions: list[Question], limit: int, seed: int, benchmark: str) -> list[Question]:
    """Take a random sample, in the file's order. The first N would be whatever was sorted first."""
    if limit <= 0 or limit >= len(questions):
        return questions
    rng = random.Random(f"{seed}:{benchmark}")  # noqa: S311 - a sample, not a secret
    return [questions[i] for i in sorted(rng.sample(range(len(questions)), limit))]


def _score(question: Question, response: str) -> dict[str, Any]:
    """Give one line of items/*.jsonl; an answer that cannot be read scores 0."""
    answer = extract_answer(response, question.options)
    return {
        "benchmark": question.benchmark,
        "id": question.id,
        "score": int(answer == question.gold),
        "repeat": 0,
        "gold": question.gold,
        "answer": answer,
        "question": question.prompt,
        "options": question.options,
        "response": response,
    }


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


def _load(
    model: Path,
    batch_size: int,
    max_length: int,
    dtype: str,
    device: str | None,
    log: Callable[[str], None],
) -> Any:
    if not (model / "config.json").is_file():
        raise KitError(
            "There is no model in this folder.",
            where=str(model),
            cause="config.json is missing: the training has not finished, or the path is misspelt",
            fix="finish the training (mfo resume RUN), or give the folder of the weights",
        )
    import torch
    from lm_eval.models.huggingface import HFLM

    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    log(f"device: {chosen}" + ("" if device else ", the best that is here") + f"; dtype: {dtype}")
    try:
        return HFLM(
            pretrained=str(model),
            device=chosen,
            dtype=dtype,
            batch_size=batch_size,
            max_length=max_length,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise KitError(
            "The model cannot be loaded.",
            where=str(model),
            cause=f"{type(error).__name__}: {str(error).splitlines()[0][:300]}",
            fix="check that the folder holds config, tokenizer and whole safetensors files",
        ) from error


def _turn_ends(tokenizer: Any, model: Path) -> list[str]:
    """Find the tokens that end the model's turn: its own list, and those that chat formats use."""
    found: list[str] = []
    try:
        config = json.loads((model / "generation_config.json").read_text(encoding="utf-8"))
        ids = config.get("eos_token_id") or []
        ids = ids if isinstance(ids, list) else [ids]
        found = [str(tokenizer.convert_ids_to_tokens(index)) for index in ids]
    except (OSError, ValueError):
        pass  # not every folder has one; the special tokens below serve as well
    special = set(tokenizer.all_special_tokens) | set(tokenizer.get_added_vocab())
    found += [token for token in _TURN_ENDS if token in special and token not in found]
    return found


def _generate(
    lm: Any,
    name: str,
    questions: list[Question],
    items_dir: Path,
    seed: int,
    until: list[str],
    max_gen_toks: int,
    chat_template: bool,
) -> dict[str, str]:
    """Run one task through the harness; gives the response by the question's id."""
    import lm_eval
    import yaml
    from lm_eval.tasks import TaskManager

    work = items_dir / ".tasks" / name
    documents = work / "documents.jsonl"
    _write_lines(documents, [{"id": q.id, "prompt": q.prompt, "gold": q.gold} for q in questions])
    task = _render(name, documents, until, max_gen_toks)
    (work / f"{name}.yaml").write_text(yaml.safe_dump(task, sort_keys=False), encoding="utf-8")
    output = lm_eval.simple_evaluate(
        model=lm,
        tasks=[task["task"]],
        task_manager=TaskManager(include_path=str(work), include_defaults=False),
        samples={task["task"]: list(range(len(questions)))},
        apply_chat_template=chat_template,
        log_samples=True,
        bootstrap_iters=0,
        random_seed=seed,
        numpy_random_seed=seed,
        torch_random_seed=seed,
        fewshot_random_seed=seed,
    )
    shutil.rmtree(work / "cache", ignore_errors=True)
    samples = output["samples"][task["task"]]
    responses = {str(s["doc"]["id"]): str(s["resps"][0][0]) for s in samples}
    if missing := [q.id for q in questions if q.id not in responses]:
        raise KitError(
            f"The harness gave no response for {len(missing)} items, {missing[0]} first.",
            where=f"{name}: {documents}",
            cause="another version of lm-evaluation-harness than the kit's pin",
            fix='install the pin: pip install -e ".[eval]" (lm-eval 0.4.11)',
        )
    return responses


def _render(name: str, documents: Path, until: list[str], max_gen_toks: int) -> dict[str, Any]:
    """Fill in the template's names in angle brackets."""
    import yaml

    task: dict[str, Any] = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
    task["task"] = task["task"].replace("<benchmark>", name)
    task["dataset_kwargs"]["data_files"]["test"] = str(documents)
    # The shared cache of the datasets library knows a file by its path and time: with a folder of
    # its own, an earlier sample can never be taken for this one.
    task["dataset_kwargs"]["cache_dir"] = str(documents.parent / "cache")
    task["generation_kwargs"]["until"] = until
    task["generation_kwargs"]["max_gen_toks"] = max_gen_toks
    return task


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write JSON lines beside the path, then rename: half a file is never there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    beside.replace(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
