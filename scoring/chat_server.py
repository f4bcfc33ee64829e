"""A small HTTP server that speaks the chat protocol of vLLM, for the kit's own two servers.

/health, /v1/models, /v1/chat/completions and, of a model, /tokenize; what it answers is its
subclass's or caller's business (small_server.py: a model on a CPU; scripted_judge.py: a judge by
rule). No kinder than vLLM: what vLLM refuses is refused here, with the same HTTP state.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from kit.process import when_gone

__all__ = ["BadRequestError", "Handler", "NotHereError", "Server", "completion", "end_with_parent"]


class BadRequestError(ValueError):
    """A request that no try will mend; its text is sent back with HTTP 400."""


class NotHereError(ValueError):
    """A page or a model that is not served here; its text is sent back with HTTP 404."""


class Server(ThreadingHTTPServer):
    """Serves on the loopback address.

    Args:
        port: 0: any that is free; see `url`.
        reply: gives the text for a list of messages.
        count: file that gets a line for each answered request: the sha256 of its body.
        name: of the model, as requests have to call it; "": any name will do.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, port: int, reply: Callable[[list[dict[str, str]]], str], count: Path | None = None,
        name: str = "",
    ) -> None:  # fmt: skip
        super().__init__(("127.0.0.1", port), Handler)
        self.reply, self.count, self.lock = reply, count, threading.Lock()
        self.name = name

    @property
    def url(self) -> str:
        """Where it answers, with its /v1."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Give the body of the reply to a request's.

        Raises:
            BadRequestError: nothing of the kind can be answered.
        """
        return completion(self.reply(request["messages"]))

    def tokenize(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - a model's does
        """Count a request's tokens; there are none where a rule answers.

        Raises:
            BadRequestError: the messages are none.
            NotHereError: nothing is counted here.
        """
        raise NotHereError("Not Found")

    def handle(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        """Give the body of the reply to what was posted to a path.

        Raises:
            BadRequestError: nothing of the kind can be answered.
            NotHereError: nothing is answered there, or the model has another name.
        """
        if path not in ("/v1/chat/completions", "/tokenize"):
            raise NotHereError("Not Found")
        asked = request.get("model")
        if self.name and asked not in (None, self.name):
            raise NotHereError(f"The model `{asked}` does not exist.")
        if path == "/tokenize":
            return self.tokenize(request)
        return {**self.answer(request), "model": asked or self.name}

    def note(self, body: bytes) -> None:
        """Count a request."""
        if self.count is not None:
            with self.lock, self.count.open("a") as file:
                file.write(hashlib.sha256(body).hexdigest() + "\n")


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Say that it is there."""
        known, name = self.path in ("/health", "/v1/models"), self.server.name or "model"
        self.send(200 if known else 404,
                  {"object": "list", "data": [{"id": name, "object": "model"}]})  # fmt: skip

    def do_POST(self) -> None:
        """Answer a chat, or count its tokens."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            reply = self.server.handle(self.path, json.loads(body))
        except (BadRequestError, NotHereError) as error:
            state = 404 if isinstance(error, NotHereError) else 400
            self.send(state, {"error": {"message": str(error)}})
            return
        except (ValueError, KeyError, IndexError, TypeError) as error:
            self.send(400, {"error": {"message": f"not a chat request: {error!r}"}})
            return
        # Counted once the reply is certain: a request that failed has to come again.
        if self.path != "/tokenize":
            self.server.note(body)
        self.send(200, reply)

    def send(self, code: int, value: object) -> None:
        """Send JSON; a caller that has gone meanwhile is no error of this server."""
        data = json.dumps(value).encode()
        with contextlib.suppress(ConnectionError):
            self.send_response(code)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Say nothing: requests are in the caller's record."""


def completion(
    text: str | None, finish: str = "stop", tokens: int | None = None, prompt: int = 0
) -> dict[str, Any]:
    """Give a reply in the protocol's form; without `tokens`, words are counted."""
    count = tokens if tokens is not None else len(text.split()) if text else 0
    return {
        "id": "reply", "object": "chat.completion", "created": 0,
        "choices": [{"index": 0, "finish_reason": finish,
                     "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": count,
                  "total_tokens": prompt + count},
    }  # fmt: skip


def end_with_parent() -> None:
    """End this process soon after the one that started it has gone, however that ended."""
    when_gone(os.getppid(), lambda: os._exit(1))
