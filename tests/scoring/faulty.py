"""A stand-in for a model server that fails on purpose, and counts what it answered."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scoring.chat_server import Handler, Server, completion

Reply = Callable[[list[dict[str, str]]], str]


class FaultyServer(Server):
    """Serves `reply`, after the faults in `script`: one is taken for each request, in order.

    Faults: an HTTP state, "cut" (less than was promised), "no json", "html", "empty" (no choice),
    "null" (no text), "length" (a reply that ended at the limit), "other" (another model's name),
    "list" (JSON, but no object), "die". Requests to /tokenize take none.
    """

    def __init__(self, reply: Reply, script: Any = (), count: Path | None = None, port: int = 0) -> None:  # fmt: skip  # noqa: E501
        super().__init__(port, reply, count)
        self.RequestHandlerClass = FaultyHandler
        self.script = list(script)
        self.requests = 0


class FaultyHandler(Handler):
    server: FaultyServer

    def do_POST(self) -> None:  # noqa: N802 - http.server's name
        if self.path == "/tokenize":
            super().do_POST()
            return
        with self.server.lock:
            self.server.requests += 1
            fault = self.server.script.pop(0) if self.server.script else None
        if fault is None:
            super().do_POST()
            return
        self.rfile.read(int(self.headers.get("content-length", 0)))
        if isinstance(fault, int):
            self.send(fault, {"error": {"message": "as scripted"}})
        elif fault == "empty":
            self.send(200, {"object": "chat.completion", "choices": []})
        elif fault == "null":
            self.send(200, completion(None))
        elif fault == "other":
            self.send(200, {**completion("hello"), "model": "another-7b"})
        elif fault == "list":
            self.send(200, [completion("hello")])
        elif fault == "length":
            self.send(200, completion("half an ans", "length"))
        elif fault == "die":
            threading.Thread(target=self.server.shutdown).start()
            self.close_connection = True
        else:
            self._raw(fault)

    def _raw(self, fault: str) -> None:
        body = {"cut": b'{"choices": [', "no json": b'{"choices": [{', "html": b"<h1>Bad gateway"}[
            fault
        ]
        self.send_response(200)
        kind = "text/html" if fault == "html" else "application/json"
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body) + (1000 if fault == "cut" else 0)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True


@contextlib.contextmanager
def serving(server: Server) -> Iterator[Any]:
    """Run a server beside the test."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
