"""What is said to a model server and what comes back: endpoint, call, reply, and their record.

A record is a JSONL file of requests and replies; a reply is found there by its call's content.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kit.errors import KitError
from kit.files import read_jsonl

__all__ = ["Call", "Endpoint", "Progress", "Reply", "append", "read"]


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
        options: of vLLM's own request fields, beside OpenAI's: `add_special_tokens` (also by the
            tokenizer, on top of the chat template's), `skip_special_tokens` (in the reply's text).
        label: what it is for, in the record and in error messages; decides nothing.
        take: tells repeats of one request apart.
    """

    messages: Sequence[Mapping[str, str]]
    temperature: float
    max_tokens: int
    seed: int
    options: Mapping[str, bool] = field(default_factory=dict)
    label: str = ""
    take: int = 0

    def request(self) -> dict[str, Any]:
        """Give what is sent, apart from the model's name."""
        return {
            "messages": [dict(m) for m in self.messages],
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            **self.options,
        }


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        text: the reply, stripped of blanks at its ends; may be empty.
        cut: whether it ended at the token limit, or at the end of the model's window.
        tokens: of the reply, as the server counts; 0 where it does not say.
        seconds: that it took.
        known: whether it came out of the file.
        prompt: tokens of the request, as the server counts; 0 where it does not say.
        room: tokens that the window had left behind the prompt, where those were fewer than the
            call's limit; None where the limit fitted. 0: the prompt alone is too long, nothing was
            generated, and `text` is empty.
    """

    text: str
    cut: bool
    tokens: int
    seconds: float
    known: bool = False
    prompt: int = 0
    room: int | None = None

    @property
    def too_long(self) -> bool:
        """Whether the prompt alone did not fit into the model's window."""
        return self.room == 0

    def row(self) -> dict[str, Any]:
        """Give what a record keeps of it."""
        short = {} if self.room is None else {"room": self.room}
        return {"text": self.text, "cut": self.cut, "tokens": self.tokens, "prompt": self.prompt,
                **short}  # fmt: skip


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


def append(file: Any, row: Mapping[str, Any]) -> None:
    """Write a line, so that a kill loses none that was written."""
    file.write(json.dumps(row, ensure_ascii=True) + "\n")
    file.flush()


def read(path: Path) -> dict[str, Reply]:
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
    fix = "take the line out: that request is then asked again"
    for number, row in read_jsonl(path, "record of earlier replies", fix=fix):
        if "failed" in row:
            continue
        try:
            reply = row["reply"]
            known[str(row["key"])] = Reply(
                str(reply["text"]), bool(reply["cut"]), int(reply["tokens"]),
                float(row["seconds"]), known=True, prompt=int(reply.get("prompt", 0)),
                room=int(reply["room"]) if "room" in reply else None,
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError):
            raise KitError(
                f"line {number} of the record of earlier replies is broken",
                where=f"{path}:{number}",
                cause="it was edited, or damaged on the way",
                fix=fix,
            ) from None
    return known
