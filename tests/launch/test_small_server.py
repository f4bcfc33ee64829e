"""The small server on real weights: template, seed, temperature and limit are what was asked."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("openai")

from checks.benchmarks.client import Call, Client
from checks.benchmarks.small_server import own_window
from launch import recipe, site
from launch.preflight import fetch
from launch.stages.serve import ServedClient, Server, small


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    tmp = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MFO_CACHE", str(tmp / "cache"))
        model = fetch.base_model(recipe.load("smoke"), site.load("laptop"))
    serving = small(str(model), "base", max_length=64, dtype="float32")
    with Server(serving, tmp, lambda _: None) as server:
        yield ServedClient(server, "w", tmp / "calls.jsonl", concurrency=6, tries=1)


def call(
    text: str, take: int = 0, *, temperature: float = 1.0, seed: int = 7, most: int = 12,
    options: dict[str, bool] | None = None,
) -> Call:  # fmt: skip
    turn = [{"role": "user", "content": text}]
    return Call(turn, temperature, most, seed, options or {}, take=take)


def post(client: Client, path: str = "/v1/chat/completions", **more: Any) -> tuple[int, Any]:
    turn = [{"role": "user", "content": "Which organ?"}]
    body = {"model": "base", "messages": turn, "temperature": 0, "seed": 1, **more}
    place = client.endpoint.url.removesuffix("/v1") + path
    request = urllib.request.Request(place, json.dumps(body).encode())  # noqa: S310
    try:
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - the test's own server
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_one_request_has_one_reply_whatever_else_is_asked(client: Client) -> None:
    alone = client.ask([call("Which organ?")])[0]
    # The same request six times at once, among others with other seeds.
    crowd = [call("Which organ?", take) for take in range(1, 7)]
    others = [call("Which plant?", seed=seed) for seed in range(6)]
    mixed = client.ask([one for pair in zip(crowd, others, strict=True) for one in pair])
    assert {reply.text for reply in mixed[::2]} == {alone.text}
    assert len({reply.text for reply in mixed[1::2]}) == 6, "other seeds, other replies"


def test_temperature_0_is_greedy_and_above_it_is_not(client: Client) -> None:
    cold = client.ask([call("Which sign?", temperature=0.0, seed=s) for s in range(3)])
    warm = client.ask([call("Which sign?", temperature=1.5, seed=s) for s in range(3)])
    assert len({r.text for r in cold}) == 1
    assert len({r.text for r in warm}) == 3


def test_replies_end_at_the_limit_and_say_so(client: Client) -> None:
    reply = client.ask([call("Which organ?", most=3)])[0]
    assert (reply.tokens, reply.cut) == (3, True)


def test_a_reply_fills_what_the_window_leaves_and_says_so(client: Client) -> None:
    longer = "Which organ? " * 6
    roomy, tight = client.ask([call("Which organ?", most=40), call(longer, most=40)])
    assert (roomy.room, roomy.cut) == (None, True)
    assert tight.room is not None
    assert (tight.tokens, tight.room) == (64 - tight.prompt,) * 2
    assert tight.tokens < 40
    # It is what the same prompt says up to there, and is found in the record as it was.
    short = client.ask([call(longer, most=tight.room)])[0]
    assert (short.text, short.room) == (tight.text, None)
    again = Client(client.endpoint, client.record).ask([call(longer, most=40)])[0]
    assert (again.text, again.room, again.known) == (tight.text, tight.room, True)


def test_a_prompt_longer_than_the_window_has_the_empty_reply(client: Client) -> None:
    long, other = client.ask([call("Which organ? " * 50), call("Which organ?")])
    assert (long.text, long.tokens, long.too_long) == ("", 0, True)
    assert long.prompt > 64
    assert not other.too_long, "and the rest is answered all the same"
    assert client.window() == 64


def test_the_stand_in_refuses_what_vllm_refuses(client: Client) -> None:
    assert post(client, max_tokens=60)[0] == 400, "prompt and limit do not fit together"
    assert post(client, max_tokens=0)[0] == 400
    assert post(client, max_tokens=4)[0] == 200
    assert post(client, max_tokens=4, model="other")[0] == 404
    assert post(client, path="/v1/embeddings")[0] == 404
    assert post(client, path="/tokenize", messages=7)[0] == 400
    state, found = post(client)  # without a limit, as far as the window goes
    assert (state, found["usage"]["total_tokens"]) == (200, 64)
    assert found["model"] == "base"


def test_the_tokenizers_bos_comes_on_top_of_the_templates_where_asked(client: Client) -> None:
    once, twice = (post(client, path="/tokenize", add_special_tokens=flag)[1]["tokens"]
                   for flag in (False, True))  # fmt: skip
    assert twice == [once[0], *once], "the miniature's template begins with BOS, its tokenizer too"
    published = call("Which organ?", options={"add_special_tokens": True})
    plain, other = client.ask([call("Which organ?"), published])
    assert other.prompt == plain.prompt + 1
    assert other.text != plain.text, "another prompt: they are two calls, and two records"


def test_special_tokens_stay_in_a_reply_where_asked(client: Client) -> None:
    calls = [call("Which organ?", seed=seed, options={"skip_special_tokens": flag})
             for seed in range(12) for flag in (True, False)]  # fmt: skip
    replies = client.ask(calls)
    dropped, kept = ([r.text for r in replies[n::2]] for n in (0, 1))
    assert any("<" in text for text in kept), "an untrained model writes some in the middle"
    assert not any("<bos>" in text or "_turn>" in text for text in dropped)
    assert not any(text.endswith("<end_of_turn>") for text in kept), "that one ended the reply"


@pytest.mark.parametrize(
    ("config", "window"),
    [
        ({"max_position_embeddings": 4096}, 4096),
        ({"text_config": {"max_position_embeddings": 512}}, 512),
        ({"max_position_embeddings": 4096, "rope": {"rope_type": "linear", "factor": 2.0}}, 8192),
        ({"max_position_embeddings": 4096, "rope": {"rope_type": "yarn", "factor": 2.0}}, 4096),
        ({"max_position_embeddings": 4096, "rope": {"rope_type": "llama3", "factor": 8.0}}, 4096),
        ({}, 2048),
    ],
)
def test_the_window_is_derived_as_vllm_does(config: dict[str, Any], window: int) -> None:
    text = SimpleNamespace(model_type="llama", **{"max_position_embeddings": None, **config})
    if "text_config" in config:
        text = SimpleNamespace(model_type="llama", **config["text_config"])
    text.rope_parameters = config.get("rope")
    assert own_window(SimpleNamespace(get_text_config=lambda: text)) == window
    text.rope_parameters = {"full": config.get("rope", {"rope_type": "default"})}
    assert own_window(SimpleNamespace(get_text_config=lambda: text)) == window
    text.model_type = "gemma3_text"  # its window is written down scaled already
    length = text.max_position_embeddings
    assert own_window(SimpleNamespace(get_text_config=lambda: text)) == (length or 2048)
