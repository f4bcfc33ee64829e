"""The small server on real weights: template, seed, temperature and limit are what was asked."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("transformers")
pytest.importorskip("openai")

from checks.benchmarks.client import Call, Client
from checks.errors import KitError
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
    text: str, take: int = 0, *, temperature: float = 1.0, seed: int = 7, most: int = 12
) -> Call:
    return Call([{"role": "user", "content": text}], temperature, most, seed, take=take)


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


def test_a_prompt_that_does_not_fit_or_that_the_template_refuses_is_an_error(
    client: Client,
) -> None:
    with pytest.raises(KitError) as caught:
        client.ask([call("Which organ? " * 50)])
    assert "HTTP 400" in caught.value.cause
    assert "the model takes 64" in caught.value.cause
    assert Path(client.record).is_file()
