"""Talking to model servers: nothing is lost, nothing is asked twice, and faults are survived."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

from faulty import FaultyServer, serving

from checks.benchmarks.client import Call, Client, Endpoint, Progress
from checks.errors import KitError


def echo(messages: list[dict[str, str]]) -> str:
    return f"you said {messages[-1]['content']}"


def call(text: str, **more: Any) -> Call:
    given: dict[str, Any] = {
        "temperature": 0.7,
        "max_tokens": 64,
        "seed": 42,
        "label": text,
        **more,
    }
    return Call([{"role": "user", "content": text}], **given)


def client(server: Any, record: Path, **more: Any) -> Client:
    given: dict[str, Any] = {"first_pause_s": 0.01, **more}
    return Client(Endpoint(server.url, "m", "weights-1"), record, **given)


def rows(record: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in record.read_text().splitlines()]


def test_replies_come_in_order_and_everything_is_in_the_record(tmp_path: Path) -> None:
    told: list[Progress] = []
    with serving(FaultyServer(echo)) as server:
        asked = client(server, tmp_path / "c.jsonl", tell=told.append)
        replies = asked.ask([call(str(n % 30)) for n in range(40)])
        assert server.requests == 30, "equal calls are sent once"
    assert [r.text for r in replies] == [f"you said {n % 30}" for n in range(40)]
    record = rows(tmp_path / "c.jsonl")
    assert {r["request"]["messages"][0]["content"] for r in record} == {str(n) for n in range(30)}
    assert all(r["request"]["temperature"] == 0.7 and r["request"]["seed"] == 42 for r in record)
    assert all(r["reply"]["text"].startswith("you said") for r in record)
    assert (told[-1].done, told[-1].of) == (30, 30)
    assert "tokens/s" in told[-1].words()


def test_what_decides_a_reply_is_asked_anew(tmp_path: Path) -> None:
    with serving(FaultyServer(echo)) as server:
        for more in ({}, {"seed": 1}, {"temperature": 0.1}, {"max_tokens": 9}, {"take": 1}, {}):
            client(server, tmp_path / "c.jsonl").ask([call("x", **more)])
        assert server.requests == 5
        other = Client(Endpoint(server.url, "m", "weights-2"), tmp_path / "c.jsonl")
        other.ask([call("x")])
        assert server.requests == 6, "other weights, other answers"
        assert client(server, tmp_path / "c.jsonl").ask([call("x", label="else")])[0].known
        assert server.requests == 6


@pytest.mark.parametrize("fault", [429, 500, 503, "cut", "no json", "html", "empty", "null"])
def test_a_passing_fault_is_survived_and_recorded(tmp_path: Path, fault: Any) -> None:
    with serving(FaultyServer(echo, [fault, fault])) as server:
        asked = client(server, tmp_path / "c.jsonl", concurrency=1)
        assert asked.ask([call("a")])[0].text == "you said a"
        assert server.requests == 3
    failures = [r for r in rows(tmp_path / "c.jsonl") if "failed" in r]
    assert [f["attempt"] for f in failures] == [1, 2]
    assert not isinstance(fault, int) or all(f"HTTP {fault}" in f["failed"] for f in failures)


def test_a_lasting_fault_is_an_error_and_what_was_answered_is_kept(tmp_path: Path) -> None:
    with serving(FaultyServer(echo, [None, *[500] * 50])) as server:
        asked = client(server, tmp_path / "c.jsonl", concurrency=1, tries=3)
        with pytest.raises(KitError, match="got no reply") as caught:
            asked.ask([call("a"), call("b"), call("c")])
        assert "HTTP 500" in caught.value.cause
        assert "1 replies are kept" in caught.value.fix
        assert server.requests == 4, "one reply, three tries, and the rest is left"
    assert len([r for r in rows(tmp_path / "c.jsonl") if "reply" in r]) == 1


@pytest.mark.parametrize("state", [400, 401, 404])
def test_what_the_server_refuses_is_not_tried_again(tmp_path: Path, state: int) -> None:
    with serving(FaultyServer(echo, [state])) as server:
        with pytest.raises(KitError, match="got no reply") as caught:
            client(server, tmp_path / "c.jsonl").ask([call("a")])
        assert f"HTTP {state}" in caught.value.cause
        assert server.requests == 1


def test_a_reply_cut_at_the_limit_is_told_apart(tmp_path: Path) -> None:
    with serving(FaultyServer(echo, ["length"])) as server:
        reply = client(server, tmp_path / "c.jsonl").ask([call("a")])[0]
        assert (reply.text, reply.cut) == ("half an ans", True)
        again = client(server, tmp_path / "c.jsonl").ask([call("a")])[0]
        assert again.cut
        assert again.known


def test_a_dead_server_and_a_killed_evaluation_cost_nothing_twice(tmp_path: Path) -> None:
    """Counted by the server: after both deaths each request was answered exactly once."""
    count, record = tmp_path / "count", tmp_path / "c.jsonl"
    calls = [call(f"question {n}") for n in range(60)]
    with serving(FaultyServer(echo, [None] * 25 + ["die"], count)) as server:
        port = server.server_address[1]
        with pytest.raises(KitError, match="got no reply"):
            client(server, record, concurrency=4, tries=2, timeout_s=5).ask(calls)
    # A kill in the middle of a write leaves half a line.
    whole = record.read_text()
    answered = sum('"reply"' in line for line in whole.splitlines())
    assert 20 < answered < 60
    record.write_text(whole + '{"key": "abc", "reply": {"te')
    with serving(FaultyServer(echo, (), count, port=port)) as server:
        replies = client(server, record, concurrency=4).ask(calls)
    assert [r.text for r in replies] == [f"you said question {n}" for n in range(60)]
    counted = Counter(count.read_text().split())
    assert len(counted) == 60
    assert set(counted.values()) == {1}
    fresh = tmp_path / "fresh.jsonl"
    with serving(FaultyServer(echo)) as server:
        undisturbed = client(server, fresh).ask(calls)
    assert [r.text for r in replies] == [r.text for r in undisturbed]


def test_a_record_that_was_edited_is_not_believed(tmp_path: Path) -> None:
    record = tmp_path / "c.jsonl"
    record.write_text('{"key": "a"}\n')
    with pytest.raises(KitError, match="line 1 of the record") as caught:
        Client(Endpoint("http://127.0.0.1:1/v1", "m", "w"), record)
    assert str(record) in caught.value.where


def test_the_key_is_sent_and_written_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "secret-123")
    with serving(FaultyServer(echo)) as server:
        endpoint = Endpoint(server.url, "m", "w", key_env="JUDGE_KEY")
        Client(endpoint, tmp_path / "c.jsonl").ask([call("a")])
    assert "secret-123" not in (tmp_path / "c.jsonl").read_text()
    with pytest.raises(KitError, match="holds a password"):
        Client(Endpoint("http://me:secret@host/v1", "m", "w"), tmp_path / "c.jsonl")
    with pytest.raises(KitError, match="not the address"):
        Client(Endpoint("localhost:8000", "m", "w"), tmp_path / "c.jsonl")


def test_hostile_text_goes_through_whole(tmp_path: Path) -> None:
    nasty = "line\u2028sep \x00 \U0001f600 </pre> \r\n \udc80end"
    with serving(FaultyServer(lambda _: nasty)) as server:
        first = client(server, tmp_path / "c.jsonl").ask([call("a")])[0]
        again = client(server, tmp_path / "c.jsonl").ask([call("a")])[0]
    assert first.text == again.text == nasty.replace("\udc80", "\ufffd")


def test_no_proxy_stands_between_a_stage_and_its_own_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serving(FaultyServer(echo)) as server:
        assert client(server, tmp_path / "c.jsonl", tries=1).ask([call("a")])[0].text
