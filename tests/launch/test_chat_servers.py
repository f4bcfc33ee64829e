"""What the kit asks of a model server: of vLLM itself, and of the small one that stands in for it.

The same tests run on both, on the same weights, so that the stand-in cannot be kinder than the real
one. vLLM's are slow: it takes a minute or two to start on a CPU.
"""

import dataclasses
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("openai")

from kit.errors import KitError
from launch.inputs import base_model as fetch
from launch.run import interpreter, recipe, site
from launch.stages.serve import ServedClient, Server, Serving, small, vllm
from scoring.client import Call, Client

WINDOW = 64
BOTH = ["small", pytest.param("vllm", marks=[pytest.mark.slow, pytest.mark.vllm])]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the twin of EuroLLM, whose template begins with BOS and whose tokenizer adds one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MFO_CACHE", str(tmp_path_factory.mktemp("cache")))
        return fetch.base_model(recipe.load("smoke-eurollm"), site.load("laptop"))


def by_vllm(model: Path) -> Serving:
    named = os.environ.get(interpreter.VARIABLE)
    folder = (Path(named) if named else interpreter.OWN) / "bin"
    if not (folder / "vllm").is_file():
        pytest.skip(f"no vLLM for CPUs in {folder}: make serve-cpu, or {interpreter.VARIABLE}")
    made = vllm(str(model), "twin", gpus=0, max_length=WINDOW, dtype="float32", seed=42)
    # As the kit starts it; but for compiling, which takes longer than all of these tests.
    command = (str(folder / "vllm"), *made.command[1:], "--enforce-eager")
    path = os.pathsep.join([str(folder), os.environ["PATH"]])
    return dataclasses.replace(
        made, command=command, environment={**made.environment, "PATH": path}
    )


@pytest.fixture(scope="module", params=BOTH)
def client(
    request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    if request.param == "vllm":
        serving = by_vllm(model)
    else:
        serving = small(str(model), "twin", max_length=WINDOW, dtype="float32")
    tmp = tmp_path_factory.mktemp(f"served-{request.param}")
    with Server(serving, tmp, lambda _: None) as server:
        yield ServedClient(server, "w", tmp / "calls.jsonl", concurrency=6, tries=1)


def call(
    text: str, *, temperature: float = 0.0, seed: int = 7, most: int = 12, **options: bool
) -> Call:
    return Call([{"role": "user", "content": text}], temperature, most, seed, options)


def post(client: Client, path: str = "/v1/chat/completions", **more: Any) -> tuple[int, Any]:
    turn = [{"role": "user", "content": "Which organ?"}]
    body = {"model": "twin", "messages": turn, "temperature": 0, "seed": 1, **more}
    place = client.endpoint.url.removesuffix("/v1") + path
    kind = {"content-type": "application/json"}
    request = urllib.request.Request(place, json.dumps(body).encode(), kind)  # noqa: S310
    try:
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - the test's own server
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_reply_fills_what_the_window_leaves_and_says_so(client: Client) -> None:
    longer = "Which organ? " * 5
    roomy, tight = client.ask([call("Which organ?", most=40), call(longer, most=40)])
    assert (roomy.room, roomy.cut) == (None, True)
    assert tight.room is not None
    assert (tight.tokens, tight.room) == (WINDOW - tight.prompt,) * 2
    assert tight.tokens < 40
    # It is what the same prompt says up to there, and is found in the record as it was.
    short = client.ask([call(longer, most=tight.room)])[0]
    assert (short.text, short.room) == (tight.text, None)
    again = Client(client.endpoint, client.record).ask([call(longer, most=40)])[0]
    assert (again.text, again.room, again.known) == (tight.text, tight.room, True)


def test_a_prompt_longer_than_the_window_has_the_empty_reply(client: Client) -> None:
    long, other = client.ask([call("Which organ? " * 50), call("Which organ?")])
    assert (long.text, long.tokens, long.too_long) == ("", 0, True)
    assert long.prompt > WINDOW
    assert not other.too_long, "and the rest is answered all the same"
    assert client.window() == WINDOW


def test_what_does_not_fit_or_is_not_here_is_refused(client: Client) -> None:
    assert post(client, max_tokens=60)[0] == 400, "prompt and limit do not fit together"
    assert post(client, max_tokens=0)[0] == 400
    assert post(client, max_tokens=4)[0] == 200
    assert post(client, max_tokens=4, model="other")[0] == 404
    assert post(client, path="/v1/embeddings")[0] == 404
    assert post(client, path="/tokenize", messages=7)[0] == 400
    state, found = post(client)  # without a limit, as far as the window goes
    assert (state, found["usage"]["total_tokens"]) == (200, WINDOW)
    assert found["model"] == "twin"


def test_the_tokenizers_bos_comes_on_top_of_the_templates_where_asked(client: Client) -> None:
    once, twice = (post(client, path="/tokenize", add_special_tokens=flag)[1]["tokens"]
                   for flag in (False, True))  # fmt: skip
    assert twice == [once[0], *once], "the template begins with BOS, and the tokenizer adds one"
    published = call("Which organ?", add_special_tokens=True)
    plain, other = client.ask([call("Which organ?"), published])
    assert other.prompt == plain.prompt + 1
    assert other.text != plain.text, "another prompt: they are two calls, and two records"


def test_special_tokens_stay_in_a_reply_where_asked(client: Client) -> None:
    calls = [call("Which organ?", temperature=2.0, most=40, seed=seed, skip_special_tokens=flag)
             for seed in range(24) for flag in (True, False)]  # fmt: skip
    replies = client.ask(calls)
    dropped, kept = ([r.text for r in replies[n::2]] for n in (0, 1))
    special = ("<s>", "<|im_start|>", "<pad>", "<unk>")
    assert any(token in text for text in kept for token in special), "untrained: some in the middle"
    assert not any(token in text for text in dropped for token in special)
    # The token that ended a reply is no part of it, kept or not.
    assert not any(r.text.endswith("<|im_end|>") for r in replies if not r.cut)


def test_another_models_name_ends_it_at_once(client: Client) -> None:
    endpoint = dataclasses.replace(client.endpoint, model="judge")
    with pytest.raises(KitError) as caught:
        Client(endpoint, client.record).ask([call("Which organ?")])
    assert "HTTP 404" in caught.value.cause
    assert "`judge` does not exist" in caught.value.cause
