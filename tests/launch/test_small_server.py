"""The small server on real weights: template, seed, temperature and limit are what was asked."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("openai")

from launch.inputs import base_model as fetch
from launch.run import recipe, site
from launch.stages.serve import ServedClient, Server, small
from scoring.client import Call, Client
from scoring.small_server import own_window


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
