"""The judged part of stage evaluate in a process of its own, its models replaced by stand-ins.

python judged_child.py evaluate RUN COUNTS      the stage's part; leaves RUN/summary.json
python judged_child.py stages RUN COUNTS        the whole stages evaluate and judge
python judged_child.py serve PORT NAME COUNTS   a model that knows the key and answers slowly
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from launch.inputs import base_model as fetch
from launch.run.folder import open_run
from launch.run.recipe import RECIPES
from launch.stages import evaluate_judged, execution, graders, serve
from launch.stages.evaluate import benchmark_files
from launch.stages.stage import context
from scoring.chat_server import Server, end_with_parent
from scoring.scripted_judge import Rules

KEY = RECIPES / "smoke" / "judged" / "key.json"


def answer(name: str, messages: list[dict[str, str]]) -> str:
    """Give the right value, of the base model often a wrong one, of MedGemma's stand-in always."""
    facts = json.loads(KEY.read_text())["facts"]
    asked = messages[-1]["content"]
    fact = next(f for drug, f in facts.items() if drug in asked)
    wrong = name == "medgemma" or (name == "base" and len(asked) % 3)
    time.sleep(0.03)
    return f"It is {fact['wrong'][0] if wrong else fact['right']}."


def slowly(messages: list[dict[str, str]]) -> str:
    """Judge by the miniature's rules, but slowly enough to be killed in the middle."""
    raw = json.loads(KEY.read_text())
    time.sleep(0.05)
    return Rules(raw["facts"], raw["criteria"]).reply(messages)


def main() -> None:
    what, place, *rest = sys.argv[1:]
    if what == "serve":
        name, counts = rest
        end_with_parent()
        count = Path(counts) / name
        reply = slowly if name == "judge" else lambda m: answer(name, m)
        Server(int(place), reply, count).serve_forever()
    counts = Path(rest[0])

    def model_server(recipe: Any, site: Any, model: Path, name: str) -> serve.Serving:
        words = (sys.executable, __file__, "serve", "{port}", name, str(counts))
        return serve.Serving(name, words, 60.0)

    def judge_server(recipe: Any, site: Any, model: Path | None) -> serve.Serving:
        if what == "stages":
            return model_server(recipe, site, Path(), "judge")
        made = serve.scripted(str(KEY))
        return serve.Serving("judge", (*made.command, "--count", str(counts / "judge")), 60.0)

    graders.model_server, graders.judge_server = model_server, judge_server
    run = open_run(Path(place))
    if what == "stages":
        # Nobody loads it, so it need not be built.
        fetch.base_model = lambda *_: Path("/nowhere")
        for stage in ("evaluate", "judge"):
            execution.execute(run, stage)
        summary = (run.folder("evaluate") / "summary.json").read_text()
        (run.path / "summary.json").write_text(summary)
        return
    run.folder("evaluate").mkdir(exist_ok=True)
    models = {"base": Path("/nowhere"), "trained": Path("/nowhere")}
    same = {"base": "base-1", "trained": "trained-1"}
    _, summary = evaluate_judged.execute(
        run.recipe, context(run, "evaluate"), models, benchmark_files(run.recipe), same
    )
    (run.path / "summary.json").write_text(json.dumps(summary))


if __name__ == "__main__":
    main()
