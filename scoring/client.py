"""One way to talk to models: many chat requests to an OpenAI-compatible endpoint.

    endpoint = Endpoint("http://127.0.0.1:8000/v1", "ours", identity=sha256)
    client = Client(endpoint, Path("calls.jsonl"))
    replies = client.ask([Call(messages, temperature=0.7, max_tokens=2048, seed=42)])

Every request and reply is a line of the client's file. A reply is known by the content of its
request (the model's identity, messages, temperature, limit, seed, options and take), so that an
evaluation that was interrupted goes on where it stopped and nothing is paid for twice. What fails
for a moment (429, 5xx, a cut or empty reply, a lost connection) is asked again with growing pauses;
each failure is a line of the file too, which is why the loop is here and not the library's own.

A reply may be as long as the call's limit and the model's window allow, whichever ends first. vLLM
refuses a request whose limit does not fit (HTTP 400) instead: such a call's prompt is counted by
the server's own /tokenize, and it is sent again with what the window has left. A prompt that leaves
nothing has the empty reply (Reply.too_long).

Importing the library costs about 2 s, so it is imported where it is used.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kit.errors import KitError
from kit.files import digest
from scoring.calls import Call, Endpoint, Progress, Reply, append, read
from scoring.context_windows import Window, count

__all__ = ["Call", "Client", "Endpoint", "Progress", "Reply"]

#: Pauses between tries, in seconds: doubled each time from the first up to the second.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
#: HTTP states after which the same request may succeed; every 5xx is one as well.
TRANSIENT = (408, 409, 425, 429)
BAD_REQUEST = 400
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class _FailedError(Exception):
    """A request that failed: why, whether to try again, when the server wants that, its state."""

    def __init__(self, why: str, *, again: bool, after_s: float = 0.0, state: int = 200) -> None:
        super().__init__(why)
        self.why, self.again, self.after_s, self.state = why, again, after_s, state


class Client:
    """Asks one endpoint and remembers what it said.

    Args:
        endpoint: the model.
        record: JSONL file of requests and replies; appended to, read first where it is there.
        concurrency: requests under way at once.
        tries: of each request, the first one included.
        timeout_s: for one reply.
        first_pause_s: before the second try; doubled for each further one.
        tell: called now and then with the progress.

    Raises:
        KitError: the address cannot be one, or the record cannot be read.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        record: Path,
        *,
        concurrency: int = 16,
        tries: int = 6,
        timeout_s: float = 600.0,
        first_pause_s: float = FIRST_PAUSE_S,
        tell: Callable[[Progress], None] | None = None,
    ) -> None:
        endpoint.check()
        self.endpoint, self.record = endpoint, record
        self.concurrency, self.tries, self.timeout_s = concurrency, tries, timeout_s
        self.first_pause_s, self.tell = first_pause_s, tell
        self.known = read(record)

    def key(self, call: Call) -> str:
        """Give the content address of a call: sha256 over what decides its reply."""
        decides = {
            "identity": self.endpoint.identity,
            "model": self.endpoint.model,
            "take": call.take,
            **call.request(),
        }
        return digest(decides)

    def ask(self, calls: Sequence[Call]) -> list[Reply]:
        """Give the reply to each call, in order; equal calls are sent once.

        Raises:
            KitError: a call has no reply after every try, or the server refuses it. What was
                answered is in the record; after as many failures as requests run at once,
                the rest is not asked.
        """
        keys = [self.key(call) for call in calls]
        wanted = {k: c for k, c in zip(keys, calls, strict=True) if k not in self.known}
        progress = Progress(of=len(set(keys)))
        progress.known = progress.of - len(wanted)
        if wanted:
            asyncio.run(self._ask_all(wanted, progress))
        return [self.known[key] for key in keys]

    def window(self) -> int | None:
        """Ask how many tokens the model takes, prompt and reply together; None: it does not say."""

        async def ask() -> Window | None:
            async with self._library() as client:
                turn = [{"role": "user", "content": "?"}]
                return await count(client, self.endpoint.url, self.endpoint.model, turn, {})

        found = asyncio.run(ask())
        return found.length if found else None

    def _library(self) -> Any:
        import openai

        key = os.environ.get(self.endpoint.key_env, "") if self.endpoint.key_env else ""
        # A proxy of the environment must not stand between the stage and its own server.
        local = urlsplit(self.endpoint.url).hostname in LOOPBACK
        return openai.AsyncOpenAI(
            base_url=self.endpoint.url,
            api_key=key or "none",
            max_retries=0,
            timeout=self.timeout_s,
            http_client=openai.DefaultAsyncHttpxClient(trust_env=not local),
        )

    async def _ask_all(self, wanted: Mapping[str, Call], progress: Progress) -> None:
        self.record.parent.mkdir(parents=True, exist_ok=True)
        queue = list(wanted.items())[::-1]
        failed: list[tuple[Call, _FailedError]] = []
        async with self._library() as client:
            with self.record.open("a", encoding="utf-8") as file:

                async def work() -> None:
                    # A server that is gone fails every call: so many failures are enough.
                    while queue and len(failed) < self.concurrency:
                        key, call = queue.pop()
                        try:
                            self.known[key] = await self._ask(client, key, call, file, progress)
                        except _FailedError as error:
                            failed.append((call, error))
                        if self.tell:
                            self.tell(progress)

                count = min(self.concurrency, len(queue))
                await asyncio.gather(*(work() for _ in range(count)))
        if failed:
            raise self._error(failed, progress)

    async def _ask(self, client: Any, key: str, call: Call, file: Any, progress: Progress) -> Reply:
        pause = self.first_pause_s
        for attempt in range(1, self.tries + 1):
            started = time.monotonic()
            about = {"key": key, "label": call.label, "attempt": attempt}
            try:
                reply = await self._fitted(client, call, started)
            except _FailedError as error:
                append(file, {**about, "failed": error.why})
                if not error.again or attempt == self.tries:
                    raise
                progress.failures += 1
                # Not all at once again: each waits between half of the pause and the whole of it.
                spread = pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
                await asyncio.sleep(min(LONGEST_PAUSE_S, max(spread, error.after_s)))
                pause = min(LONGEST_PAUSE_S, 2 * pause)
                continue
            append(file, {
                **about,
                "endpoint": {"url": self.endpoint.url, "model": self.endpoint.model,
                             "identity": self.endpoint.identity},
                "request": {**call.request(), "take": call.take},
                "reply": reply.row(),
                "seconds": round(reply.seconds, 3),
            })  # fmt: skip
            progress.done += 1
            progress.tokens += reply.tokens
            return reply
        raise AssertionError("the last try either gave a reply or raised")

    async def _fitted(self, client: Any, call: Call, started: float) -> Reply:
        """Ask; where the server refuses the limit, with what its window leaves for the reply."""
        try:
            return await self._once(client, call, call.max_tokens, started)
        except _FailedError as error:
            if error.state != BAD_REQUEST:
                raise
            window = await count(client, self.endpoint.url, self.endpoint.model, call.messages,
                                 call.options)  # fmt: skip
            if window is None or window.room >= call.max_tokens:
                raise  # it is not the window that the server refuses
        if not window.room:
            return Reply("", True, 0, time.monotonic() - started, prompt=window.prompt, room=0)
        reply = await self._once(client, call, window.room, started)
        return replace(reply, room=window.room)

    async def _once(self, client: Any, call: Call, most: int, started: float) -> Reply:
        import openai

        request = {**call.request(), "max_tokens": most}
        options = {key: request.pop(key) for key in call.options}
        try:
            answer = await client.chat.completions.create(
                model=self.endpoint.model, **request, extra_body=options or None
            )
        except openai.APIStatusError as error:
            again = error.status_code in TRANSIENT or error.status_code >= 500
            said = " ".join(str(error.message).split())[:300]
            raise _FailedError(
                f"HTTP {error.status_code}: {said}", again=again, after_s=_after(error.response),
                state=error.status_code,
            ) from None  # fmt: skip
        except openai.APITimeoutError:
            raise _FailedError(f"no reply within {self.timeout_s:.0f} s", again=True) from None
        except openai.APIConnectionError as error:
            why = error.__cause__ or error
            raise _FailedError(
                f"the connection failed ({type(why).__name__}: {why})", again=True
            ) from None
        except (openai.APIError, ValueError) as error:
            raise _FailedError(
                f"the reply cannot be read ({type(error).__name__})", again=True
            ) from None
        return _reply(answer, self.endpoint.model, time.monotonic() - started)

    def _error(self, failed: Sequence[tuple[Call, _FailedError]], progress: Progress) -> KitError:
        call, first = failed[0]
        refused = not first.again
        return KitError(
            f"{len(failed):,} of {progress.of:,} requests got no reply"
            + (f", such as {call.label}" if call.label else ""),
            where=f"{self.endpoint.model} at {self.endpoint.url}",
            cause=f"{first.why}; "
            + ("the server refuses it" if refused else f"after {self.tries} tries"),
            fix=(_mended(first) if refused else "bring the server back")
            + f", then mfo resume RUN: {len(self.known):,} replies are kept in {self.record}",
        )  # fmt: skip


def _mended(error: _FailedError) -> str:
    if "special_tokens" in error.why:  # vLLM's own fields, which other servers may refuse
        return (
            "--set judge.bos=once --set judge.special_tokens=dropped for a server that is no vLLM"
        )
    if error.state < BAD_REQUEST:
        return "give the model's own name, or see who else answers at this address"
    return "see the server's log; mend the request or the key"


def _reply(answer: Any, model: str, seconds: float) -> Reply:
    """Take the text out of the library's answer, which it builds from whatever JSON came."""
    named = getattr(answer, "model", None)
    if isinstance(named, str) and not _same(named, model):
        raise _FailedError(f"the server answers as {named!r:.80}, not as {model!r}", again=False)
    try:
        choice = answer.choices[0]
        text = choice.message.content
        cut = choice.finish_reason == "length"
    except (AttributeError, IndexError, KeyError, TypeError):
        raise _FailedError("the reply holds no message", again=True) from None
    if text is None and cut:
        text = ""  # all tokens went into what the server does not hand out
    if not isinstance(text, str):
        raise _FailedError("the reply's message holds no text", again=True)
    # Half a surrogate pair is JSON and no text: it could be neither written nor sent on.
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    tokens, prompt = (_counted(answer, f"{what}_tokens") for what in ("completion", "prompt"))
    return Reply(text.strip(), cut, tokens, seconds, prompt=prompt)


def _counted(answer: Any, key: str) -> int:
    found = getattr(getattr(answer, "usage", None), key, 0)
    return max(0, found) if isinstance(found, int) and not isinstance(found, bool) else 0


def _same(named: str, asked: str) -> bool:
    """Whether a server's word for its model is the one asked for, its owner or release aside."""
    one, other = (name.rpartition("/")[2].lower() for name in (named, asked))
    return not named or one.startswith(other) or other.startswith(one)


def _after(response: Any) -> float:
    """Read Retry-After in seconds; a date or anything else counts as not said."""
    try:
        return max(0.0, float(response.headers.get("retry-after", 0)))
    except (TypeError, ValueError):
        return 0.0
