"""Talking to model servers: nothing is lost, nothing is asked twice, and faults are survived."""

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("openai")

from faulty import FaultyServer, serving

from kit.errors import KitError
from scoring.chat_server import BadRequestError, completion
from scoring.client import Call, Client, Endpoint, Progress


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
        bos = {"options": {"add_special_tokens": True}}
        for more in (
            {},
            {"seed": 1},
            {"temperature": 0.1},
            {"max_tokens": 9},
            {"take": 1},
            {},
            bos,
        ):
            client(server, tmp_path / "c.jsonl").ask([call("x", **more)])
        assert server.requests == 6
        other = Client(Endpoint(server.url, "m", "weights-2"), tmp_path / "c.jsonl")
        other.ask([call("x")])
        assert server.requests == 7, "other weights, other answers"
        assert client(server, tmp_path / "c.jsonl").ask([call("x", label="else")])[0].known
        assert server.requests == 7


@pytest.mark.parametrize(
    "fault", [429, 500, 503, "cut", "no json", "html", "empty", "null", "list"]
)
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
        with pytest.raises(KitError) as caught:
            client(server, tmp_path / "c.jsonl", tries=1).ask([call("d")])
        assert "1 replies are kept" in caught.value.fix, "an earlier session's are kept as well"
    assert len([r for r in rows(tmp_path / "c.jsonl") if "reply" in r]) == 1


@pytest.mark.parametrize("fault", ["no json", "html", "empty", "null", "list"])
def test_a_server_that_never_says_anything_readable_is_an_error(tmp_path: Path, fault: str) -> None:
    with serving(FaultyServer(echo, [fault] * 9)) as server:
        with pytest.raises(KitError, match="got no reply") as caught:
            client(server, tmp_path / "c.jsonl", tries=2).ask([call("a")])
        assert "the reply" in caught.value.cause
        assert "after 2 tries" in caught.value.cause


def test_a_server_of_another_model_is_refused_by_its_name(tmp_path: Path) -> None:
    with serving(FaultyServer(echo, ["other"] * 9)) as server:
        with pytest.raises(KitError) as caught:
            client(server, tmp_path / "c.jsonl").ask([call("a")])
        assert "answers as 'another-7b', not as 'm'" in caught.value.cause
        assert "model's own name" in caught.value.fix
        assert server.requests == 1, "asking again would not change who is there"


@pytest.mark.parametrize(
    ("named", "asked", "same"),
    [("m", "m", True), ("ORG/Model-7B", "model-7b", True), ("gpt-4o-2024-08-06", "gpt-4o", True),
     ("", "m", True), ("qwen", "llama", False), ("trained", "base", False)],
)  # fmt: skip
def test_a_models_release_is_no_other_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, asked: str, same: bool
) -> None:
    monkeypatch.setattr(FaultyServer, "handle", lambda *_: {**completion("hi"), "model": named})
    with serving(FaultyServer(echo)) as server:
        one = Client(Endpoint(server.url, asked, "w"), tmp_path / "c.jsonl")
        if same:
            assert one.ask([call("a")])[0].text == "hi"
        else:
            with pytest.raises(KitError, match="got no reply"):
                one.ask([call("a")])


# --- the window ---------------------------------------------------------------------------------


class Counting(FaultyServer):
    """Stands in for vLLM: a word is a token, what does not fit is refused, /tokenize counts."""

    said: Any = None  # instead of the count

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        prompt, most = self.tokenize(request)["count"], request["max_tokens"]
        if most < 1 or prompt + most > WINDOW:
            raise BadRequestError("This model's maximum context length is 20 tokens.")
        return completion("yes " * most, "length", most, prompt)

    def tokenize(self, request: dict[str, Any]) -> dict[str, Any]:
        words = request["messages"][-1]["content"].split()
        return {"count": len(words) + request.get("add_special_tokens", 0), "max_model_len": WINDOW}

    def handle(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        if path == "/tokenize" and self.said is not None:
            return self.said  # type: ignore[no-any-return]
        return super().handle(path, request)


WINDOW = 20


@given(st.integers(1, 30), st.integers(1, 30), st.booleans())
def test_a_reply_has_its_limit_or_what_the_window_leaves(words: int, most: int, bos: bool) -> None:
    options = {"add_special_tokens": True} if bos else {}
    with tempfile.TemporaryDirectory() as folder, serving(Counting(echo)) as server:
        asked = client(server, Path(folder) / "c.jsonl")
        (reply,) = asked.ask([call("word " * words, max_tokens=most, options=options)])
    left = max(0, WINDOW - words - bos)
    assert reply.tokens == min(most, left)
    assert reply.room == (left if left < most else None)
    assert (reply.text == "", reply.too_long) == (left == 0,) * 2
    assert reply.prompt == words + bos
    assert asked.known[asked.key(call("word " * words, max_tokens=most, options=options))] == reply


@pytest.mark.parametrize("said", [
    {}, {"count": "9", "max_model_len": 20}, {"count": 18}, {"count": True, "max_model_len": 20},
    {"count": 2, "max_model_len": 0}, {"count": 2, "max_model_len": 20}, [18, 20],
])  # fmt: skip
def test_a_refusal_stands_where_the_window_does_not_explain_it(tmp_path: Path, said: Any) -> None:
    with serving(Counting(echo)) as server:
        server.said = said
        with pytest.raises(KitError) as caught:
            client(server, tmp_path / "c.jsonl").ask([call("word " * 18, max_tokens=9)])
    assert "maximum context length is 20" in caught.value.cause
    assert "the server refuses it" in caught.value.cause


def test_a_server_that_counts_nothing_has_no_window(tmp_path: Path) -> None:
    with serving(FaultyServer(echo)) as server:
        assert client(server, tmp_path / "c.jsonl").window() is None
    assert client(server, tmp_path / "c.jsonl").window() is None, "nor has one that is gone"
    with serving(Counting(echo)) as server:
        assert client(server, tmp_path / "c.jsonl").window() == WINDOW


def test_a_server_that_knows_no_vllm_fields_is_told_from_one_that_is_broken(tmp_path: Path) -> None:
    with serving(FaultyServer(echo)) as server:
        refuses = "Unrecognized request argument supplied: add_special_tokens"

        def handle(*_: Any) -> Any:
            raise BadRequestError(refuses)

        server.handle = handle
        with pytest.raises(KitError) as caught:
            client(server, tmp_path / "c.jsonl").ask(
                [call("a", options={"add_special_tokens": True})]
            )
    assert "--set judge.bos=once" in caught.value.fix


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
