"""HealthBench and Auto-MOOVE in a run: servers, kills in the middle, the canary, the protocols."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

sys.path.insert(0, str(Path(__file__).parent))
from judged_runs import counted, finish, servers, start, until

from checks.items import Item
from kit.errors import KitError
from kit.process import is_alive
from launch.run import recipe, site
from launch.run.folder import Run, create
from launch.stages import evaluate_judged, graders, serve
from scoring import canary
from scoring.client import Reply

JUDGED = ["healthbench", "auto_moove"]
Make = Callable[..., Run]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def new(name: str = "a", **settings: Any) -> Run:
        given = {"eval.benchmarks": JUDGED, **settings}
        chosen = recipe.with_settings(recipe.load("smoke"), given.items())
        return create(chosen, site.load("laptop"), ["evaluate"], ["why"], tmp_path / name)

    return new


def without_seconds(summary: dict[str, Any]) -> dict[str, Any]:
    for which in ("base", "trained"):
        for one in summary[which].values():
            del one["seconds"]
    del summary["judged"]["servers"]  # how often each was started
    del summary["judged"]["windows"]  # asked of those that had to be
    return summary


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, Any]]:
    given = {"eval.benchmarks": JUDGED}
    chosen = recipe.with_settings(recipe.load("smoke"), given.items())
    folder = tmp_path_factory.mktemp("undisturbed")
    run = create(chosen, site.load("laptop"), ["evaluate"], ["why"], folder)
    return run, finish(run)


def test_a_run_answers_grades_and_judges(undisturbed: tuple[Run, dict[str, Any]]) -> None:
    run, summary = undisturbed
    assert summary["trained"]["healthbench"]["score"] == 1.0
    assert summary["base"]["healthbench"]["score"] < 0.6
    assert 0.6 < summary["trained"]["auto_moove"]["score"] < 1
    assert "auto_moove" not in summary["base"], "the base model is what is compared with"
    kept = summary["judged"]
    assert kept["canary"]["drift"] == 0
    assert len(kept["prompts"]["grader"]) == 64
    assert kept["benchmarks"]["trained"]["auto_moove"]["position_bias"]["biased"] is False
    assert kept["benchmarks"]["trained"]["auto_moove"]["agreement"]["n"] == 10
    calls = (run.folder("evaluate") / "calls" / "trained.jsonl").read_text().splitlines()
    assert len(calls) == 80
    first = json.loads(calls[0])
    assert (first["request"]["seed"], first["request"]["temperature"]) == (42, 0.7)
    assert first["endpoint"]["identity"] == "trained-1"
    assert not servers(run), "they end with their stage"
    progress = json.loads((run.folder("evaluate") / "progress.json").read_text())
    assert "tokens/s" in progress["words"]


def test_killed_servers_and_a_killed_evaluation_repeat_no_answered_call(
    make: Make, undisturbed: tuple[Run, dict[str, Any]]
) -> None:
    run = make()
    process = start(run)
    record = run.folder("evaluate") / "calls" / "base.jsonl"

    def answered() -> int:
        return record.read_text().count('"reply"') if record.is_file() else 0

    until(lambda: answered() >= 8)
    for pid in servers(run):
        os.kill(pid, signal.SIGKILL)
    until(lambda: answered() >= 20)  # it was started again, and goes on
    process.kill()
    process.wait()
    mine = servers(run)
    until(lambda: not any(is_alive(pid) for pid in mine))
    summary = finish(run)
    assert "was ended by SIGKILL" in (run.path / "child.log").read_text()
    assert without_seconds(summary) == without_seconds(dict(undisturbed[1]))
    for name in JUDGED:
        file = f"{name}.jsonl"
        assert (run.items / file).read_text() == (undisturbed[0].items / file).read_text()
    for name, requests in counted(run).items():
        # What the server had answered when it or its caller was killed may not have been heard:
        # at most as many as are under way at once, once for each of the two kills.
        repeated = sum(count - 1 for count in requests.values())
        heard = {json.loads(line)["key"] for line in
                 (run.folder("evaluate") / "calls" / f"{name}.jsonl").read_text().splitlines()
                 if '"reply"' in line}  # fmt: skip
        assert len(heard) == len(requests)
        assert repeated <= 2 * 8 if name == "base" else repeated == 0
    keys = [json.loads(line)["key"] for line in record.read_text().splitlines()
            if '"reply"' in line]  # fmt: skip
    assert len(keys) == len(set(keys)), "nothing that had an answer was asked again"


def test_a_judge_that_drifted_makes_every_judged_benchmark_invalid(
    make: Make, tmp_path: Path
) -> None:
    frozen = (recipe.RECIPES / "smoke" / "judged" / "canary.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in frozen]
    rows[0]["met"] = not rows[0]["met"]
    other = tmp_path / "canary.jsonl"
    other.write_text("".join(json.dumps(r) + "\n" for r in rows))
    run = make(**{"judge.canary": str(other), "judge.canary_margin": 2.0})
    summary = finish(run)
    for name in JUDGED:
        assert "1 of 20 frozen answers" in summary["trained"][name]["problem"]
        assert not (run.items / f"{name}.jsonl").exists(), "nothing was graded, nothing was paid"
    assert len(counted(run)["judge"]) == 20
    kept = make("b", **{"judge.canary": str(other), "judge.canary_margin": 5.0})
    assert "problem" not in finish(kept)["trained"]["healthbench"]


def test_grades_are_frozen_out_of_a_run(
    undisturbed: tuple[Run, dict[str, Any]], tmp_path: Path, call: Callable[..., Any]
) -> None:
    run, out = undisturbed[0], tmp_path / "frozen.jsonl"
    code, printed, _ = call("canary", str(run.path), "--out", out)
    assert (code, f"judge.canary={out}" in printed) == (0, True)
    frozen = canary.read_canary(out)
    assert 50 < len(frozen) <= canary.FROZEN
    code, _, complained = call("canary", "--runs", tmp_path / "none", "--out", out)
    assert code == 2
    assert "there is no run yet" in complained


def test_status_says_how_far_an_evaluation_is(
    make: Make, call: Callable[..., Any], tmp_path: Path
) -> None:
    run = make()
    run.folder("evaluate").mkdir()
    run.set_status("evaluate", "running")
    words = "judging healthbench, trained model: 7 of 40, 31 tokens/s, about 9 s left"
    (run.folder("evaluate") / "progress.json").write_text(json.dumps({"words": words}))
    _, printed, _ = call("status", run.path)
    assert words in printed


def test_what_the_window_left_is_said_recorded_and_noted_on_the_item() -> None:
    stage = evaluate_judged._Judged.__new__(evaluate_judged._Judged)
    stage.record = {"window_left": {}}
    whole, less, none = (Reply("x", False, 1, 0.1, room=room) for room in (None, 7, 0))
    assert stage._short("base, healthbench", [whole, whole]) == ""
    said = stage._short("base, healthbench", [whole, less, none, none])
    assert "left 1 of them less" in said
    assert "2 prompts are longer than the window: empty replies" in said
    assert stage.record["window_left"] == {"base, healthbench": {"shortened": 1, "too_long": 2}}
    item = Item(benchmark="healthbench", id="a", score=0.0)
    assert evaluate_judged._noted(item, whole, less) is item
    assert evaluate_judged._noted(item, less, none).extra["too_long"] == 1


# --- servers ------------------------------------------------------------------------------------


def quick(tmp: Path) -> serve.Serving:
    return serve.scripted(str(recipe.RECIPES / "smoke" / "judged" / "key.json"))


def test_a_server_ends_with_its_context_and_starts_again_after_its_death(tmp_path: Path) -> None:
    said: list[str] = []
    with serve.Server(quick(tmp_path), tmp_path, said.append) as server:
        assert server.process is not None
        first, url = server.process.pid, server.url
        client = serve.ServedClient(server, "w", tmp_path / "c.jsonl", first_pause_s=0.05, tries=2)
        call = serve.Call([{"role": "user", "content": "Hello"}], 0.0, 8, 1)
        assert client.ask([call])[0].text == "I do not know what is asked of me."
        os.kill(first, signal.SIGKILL)
        again = serve.Call([{"role": "user", "content": "Hello again"}], 0.0, 8, 1)
        assert client.ask([again])[0].text
        assert server.url != url
        second = server.process.pid
    assert not is_alive(first)
    assert not is_alive(second)
    assert any("was ended by SIGKILL" in line for line in said)


#: A server with a worker of its own, as vLLM has, which does not end with it.
WITH_A_WORKER = """
import http.server, json, subprocess, sys
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[2], "w").write(str(worker.pid))
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"{}")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


def test_what_a_killed_server_left_is_ended_by_the_next(tmp_path: Path) -> None:
    note, told = tmp_path / "worker", list[str]()
    command = (sys.executable, "-c", WITH_A_WORKER, "{port}", str(note))
    server = serve.Server(serve.Serving("m", command, 60.0), tmp_path, told.append)
    server.__enter__()
    worker = int(note.read_text())
    assert server.process is not None
    server.process.kill()  # as kill -9 of the whole evaluation does, and nobody cleans up
    server.process.wait()
    assert is_alive(worker), "this is what has to be ended"
    with serve.Server(quick(tmp_path), tmp_path, told.append):
        assert not is_alive(worker)
    assert any(str(worker) in line for line in told)


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ((sys.executable, "-c", "import sys; sys.exit('no such model: x')"), "exit code 1"),
        ((sys.executable, "-c", "import time; time.sleep(60)"), "did not answer within"),
        (("a-program-that-is-not-here",), "is not installed"),
    ],
)
def test_a_server_that_does_not_come_up_is_reported_with_its_log(
    tmp_path: Path, command: tuple[str, ...], what: str
) -> None:
    patience = 1.5 if "sleep" in str(command) else 60.0
    server = serve.Server(serve.Serving("m", command, patience), tmp_path, lambda _: None)
    with pytest.raises(KitError, match=what) as caught, server:
        pass
    if "no such model" in str(command):
        assert "no such model: x" in caught.value.cause
        assert str(tmp_path) in caught.value.where
        assert server.starts == 1, "what dies before it ever answered would do so again"


LISTS = """
import http.server, json, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"data": [{"id": sys.argv[2]}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


@pytest.mark.parametrize(("listed", "refused"), [("m", False), ("somebody-elses-7B", True)])
def test_a_server_that_answers_another_models_name_is_refused_and_ended(
    tmp_path: Path, listed: str, refused: bool
) -> None:
    command = (sys.executable, "-c", LISTS, "{port}", listed)
    server = serve.Server(serve.Serving("m", command, 60.0), tmp_path, lambda _: None)
    if refused:
        with pytest.raises(KitError, match=r"another model answers.*somebody-elses-7B"), server:
            pass
        assert server.process is None
    else:
        with server:
            assert server.answered


def test_two_servers_at_once_have_ports_of_their_own(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    one.mkdir()
    two.mkdir()
    with (
        serve.Server(quick(tmp_path), one, lambda _: None) as first,
        serve.Server(quick(tmp_path), two, lambda _: None) as second,
    ):
        assert first.port != second.port


def test_vllm_samples_as_each_request_says_and_asks_no_network() -> None:
    made = serve.vllm("/w", "trained", gpus=4, max_length=8192, dtype="bfloat16", seed=42)
    words = " ".join(made.command)
    assert words == (
        "vllm serve /w --served-model-name trained --host 127.0.0.1 --port {port} "
        "--tensor-parallel-size 4 --dtype bfloat16 --max-model-len 8192 --seed 42 "
        "--generation-config vllm --language-model-only"
    )
    own = serve.vllm("/w", "trained", gpus=4, max_length=0)
    assert "--max-model-len" not in own.command, "the model's own window, as vLLM reads it"
    assert made.environment["HF_HUB_OFFLINE"] == "1"


# --- who judges -----------------------------------------------------------------------------------


def test_a_laptop_cannot_serve_the_published_judge_and_says_so_at_once() -> None:
    full, laptop = recipe.load("gemma-3-27b"), site.load("laptop")
    with pytest.raises(KitError, match="nobody can judge") as caught:
        graders.describe(full, laptop)
    assert "judge.base_url" in caught.value.fix
    elsewhere = recipe.with_settings(full, [("judge.base_url", "http://judge.example:8000/v1")])
    said = "\n".join(graders.describe(elsewhere, laptop))
    assert "http://judge.example:8000/v1 (key from MFO_JUDGE_KEY, not set)" in said
    assert graders.judge_server(elsewhere, laptop, None) is None


def test_the_key_of_an_endpoint_is_named_and_never_written(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MFO_JUDGE_KEY", "sk-very-secret")
    run = make(**{"judge.base_url": "http://127.0.0.1:9/v1"})
    assert "sk-very-secret" not in (run.path / "run.toml").read_text()
    assert "set)" in "\n".join(graders.describe(run.recipe, run.site))
    with pytest.raises(KitError, match="not the name") as caught:
        given = recipe.with_settings(run.recipe, [("judge.key_env", "sk-very-secret")])
        graders.describe(given, run.site)
    assert "secret" not in str(caught.value)
    with pytest.raises(KitError, match="password"):
        bad = recipe.with_settings(run.recipe, [("judge.base_url", "http://me:pw@host/v1")])
        graders.describe(bad, run.site)


@pytest.mark.parametrize("key", ["protocol", "order"])
def test_an_unknown_protocol_is_refused_before_anything_runs(make: Make, key: str) -> None:
    with pytest.raises(KitError, match=rf"judge\.{key} takes .*not 'x'"):
        graders.describe(make(**{f"judge.{key}": "x"}).recipe, site.load("laptop"))
