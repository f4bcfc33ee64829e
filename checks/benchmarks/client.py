"""One way to talk to models: many chat requests to an OpenAI-compatible endpoint.

    endpoint = Endpoint("http://127.0.0.1:8000/v1", "ours", identity=sha256)
    client = Client(endpoint, Path("calls.jsonl"))
    replies = client.ask([Call(messages, temperature=0.7, max_tokens=2048, seed=42)])

Every request and reply is a line of the client's file. A reply is known by the content of its
request (the model's identity, messages, temperature, limit, seed and take), so that an evaluation
that was interrupted goes on where it stopped and nothing is paid for twice. What fails for a moment
(429, 5xx, a cut or empty reply, a lost connection) is asked again with growing pauses; each failure
is a line of the file too, which is why the loop is here and not the library's own.

Importing the library costs about 2 s, so it is imported where it is used.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from checks.errors import KitError

__all__ = ["Call", "Client", "Endpoint", "Progress", "Reply"]

#: Pauses between tries, in seconds: doubled each time from the first up to the second.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
#: HTTP states after which the same request may succeed; every 5xx is one as well.
TRANSIENT = (408, 409, 425, 429)
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Endpoint:
    """Where a model answers.

    Attributes:
        url: up to and with its /v1.
        model: the name that the server knows it by.
        identity: what decides its answers, such as the sha256 of its weights: a reply of other
            weights is never taken for one of these.
        key_env: environment variable that holds the key; "" or unset: no key is sent.
    """

    url: str
    model: str
    identity: str
    key_env: str = ""

    def check(self) -> None:
        """Refuse an address that could not be asked, or that holds a password.

        Raises:
            KitError: with what is wrong about it.
        """
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise KitError(
                f"this is not the address of a model server: {self.url!r}",
                fix="give one such as http://127.0.0.1:8000/v1",
            )
        if parts.username or parts.password:
            raise KitError(
                "the address of the model server holds a password",
                cause="addresses are written into the run's record",
                fix="put the key into an environment variable and name that (key_env)",
            )


@dataclass(frozen=True)
class Call:
    """One request.

    Attributes:
        messages: [{"role", "content"}, …].
        temperature: of sampling; 0 is greedy.
        max_tokens: of the reply.
        seed: sent to the server.
        label: what it is for, in the record and in error messages; decides nothing.
        take: tells repeats of one request apart.
    """

    messages: Sequence[Mapping[str, str]]
    temperature: float
    max_tokens: int
    seed: int
    label: str = ""
    take: int = 0

    def request(self) -> dict[str, Any]:
        """Give what is sent, apart from the model's name."""
        return {
            "messages": [dict(m) for m in self.messages],
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        text: the reply, stripped of blanks at its ends; may be empty.
        cut: whether it ended at the token limit.
        tokens: of the reply, as the server counts; 0 where it does not say.
        seconds: that it took.
        known: whether it came out of the file.
    """

    text: str
    cut: bool
    tokens: int
    seconds: float
    known: bool = False


@dataclass
class Progress:
    """How far a list of calls is: counts, tokens and seconds of this session's own replies."""

    of: int
    known: int = 0
    done: int = 0
    tokens: int = 0
    failures: int = 0
    begun: float = field(default_factory=time.monotonic)

    def words(self) -> str:
        """Say it, with tokens a second and the time left where something was generated."""
        at = f"{self.known + self.done:,} of {self.of:,}"
        if self.known:
            at += f" ({self.known:,} known already)"
        seconds = time.monotonic() - self.begun
        if self.done and seconds > 0:
            left = (self.of - self.known - self.done) * seconds / self.done
            at += f", {self.tokens / seconds:,.0f} tokens/s, about {_duration(left)} left"
        if self.failures:
            at += f", {self.failures:,} requests had to be repeated"
        return at


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class _FailedError(Exception):
    """A request that failed: why, whether to try again, and when the server wants that."""

    def __init__(self, why: str, *, again: bool, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.why, self.again, self.after_s = why, again, after_s


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
        self.known = _read(record)

    def key(self, call: Call) -> str:
        """Give the content address of a call: sha256 over what decides its reply."""
        decides = {
            "identity": self.endpoint.identity,
            "model": self.endpoint.model,
            "take": call.take,
            **call.request(),
        }
        text = json.dumps(decides, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

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

    async def _ask_all(self, wanted: Mapping[str, Call], progress: Progress) -> None:
        import openai

        key = os.environ.get(self.endpoint.key_env, "") if self.endpoint.key_env else ""
        # A proxy of the environment must not stand between the stage and its own server.
        local = urlsplit(self.endpoint.url).hostname in LOOPBACK
        client = openai.AsyncOpenAI(
            base_url=self.endpoint.url,
            api_key=key or "none",
            max_retries=0,
            timeout=self.timeout_s,
            http_client=openai.DefaultAsyncHttpxClient(trust_env=not local),
        )
        self.record.parent.mkdir(parents=True, exist_ok=True)
        queue = list(wanted.items())[::-1]
        failed: list[tuple[Call, _FailedError]] = []
        async with client:
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
                reply = await self._once(client, call, started)
            except _FailedError as error:
                _append(file, {**about, "failed": error.why})
                if not error.again or attempt == self.tries:
                    raise
                progress.failures += 1
                # Not all at once again: each waits between half of the pause and the whole of it.
                spread = pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
                await asyncio.sleep(min(LONGEST_PAUSE_S, max(spread, error.after_s)))
                pause = min(LONGEST_PAUSE_S, 2 * pause)
                continue
            _append(file, {
                **about,
                "endpoint": {"url": self.endpoint.url, "model": self.endpoint.model,
                             "identity": self.endpoint.identity},
                "request": {**call.request(), "take": call.take},
                "reply": {"text": reply.text, "cut": reply.cut, "tokens": reply.tokens},
                "seconds": round(reply.seconds, 3),
            })  # fmt: skip
            progress.done += 1
            progress.tokens += reply.tokens
            return reply
        raise AssertionError("the last try either gave a reply or raised")

    async def _once(self, client: Any, call: Call, started: float) -> Reply:
        import openai

        try:
            answer = await client.chat.completions.create(
                model=self.endpoint.model, **call.request()
            )
        except openai.APIStatusError as error:
            again = error.status_code in TRANSIENT or error.status_code >= 500
            said = " ".join(str(error.message).split())[:300]
            raise _FailedError(
                f"HTTP {error.status_code}: {said}", again=again, after_s=_after(error.response)
            ) from None
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
        return _reply(answer, time.monotonic() - started)

    def _error(self, failed: Sequence[tuple[Call, _FailedError]], progress: Progress) -> KitError:
        call, first = failed[0]
        refused = not first.again
        return KitError(
            f"{len(failed):,} of {progress.of:,} requests got no reply"
            + (f", such as {call.label}" if call.label else ""),
            where=f"{self.endpoint.model} at {self.endpoint.url}",
            cause=f"{first.why}; "
            + ("the server refuses it" if refused else f"after {self.tries} tries"),
            fix=("see the server's log; mend the request or the key" if refused else
                 "bring the server back")
            + f", then mfo resume RUN: {progress.known + progress.done:,} replies are kept in "
            f"{self.record}",
        )  # fmt: skip


def _reply(answer: Any, seconds: float) -> Reply:
    """Take the text out of the library's answer, which it builds from whatever JSON came."""
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
    tokens = getattr(getattr(answer, "usage", None), "completion_tokens", 0)
    whole = tokens if isinstance(tokens, int) and not isinstance(tokens, bool) else 0
    # Half a surrogate pair is JSON and no text: it could be neither written nor sent on.
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return Reply(text.strip(), cut, max(0, whole), seconds)


def _after(response: Any) -> float:
    """Read Retry-After in seconds; a date or anything else counts as not said."""
    try:
        return max(0.0, float(response.headers.get("retry-after", 0)))
    except (TypeError, ValueError):
        return 0.0


def _append(file: Any, row: Mapping[str, Any]) -> None:
    file.write(json.dumps(row, ensure_ascii=True) + "\n")
    file.flush()


def _read(path: Path) -> dict[str, Reply]:
    """Read the replies of an earlier session; a last line that was cut by a kill is mended."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise KitError(
            f"the record of earlier replies cannot be read: {error.strerror}", where=str(path)
        ) from None
    if data and not data.endswith(b"\n"):
        data = data[: data.rfind(b"\n") + 1]
        with path.open("r+b") as file:
            file.truncate(len(data))
    known = {}
    for number, line in enumerate(data.splitlines(), 1):
        try:
            row = json.loads(line)
            if "failed" in row:
                continue
            reply = row["reply"]
            known[str(row["key"])] = Reply(
                str(reply["text"]), bool(reply["cut"]), int(reply["tokens"]),
                float(row["seconds"]), known=True,
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError):
            raise KitError(
                f"line {number} of the record of earlier replies is broken",
                where=f"{path}:{number}",
                cause="it was edited, or damaged on the way",
                fix="take the line out: that request is then asked again",
            ) from None
    return known
