"""A stand-in of the hub's API, not the hub: what HfApi calls to make a repository and to commit.

It answers over HTTP on this machine: create, model information, validation of a card's metadata,
preupload, LFS batch with upload and verification, and the commit itself. Everything that it was
sent is kept, so that tests can look.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_standin_token_for_tests_only"  # noqa: S105 - the stand-in's own


class StandInHub:
    """State of the stand-in.

    Attributes:
        repos: name -> {"private", "files": path -> bytes}.
        objects: sha256 -> bytes, the LFS store.
        asked: method and path of every request.
        tokens: the Authorization headers that came, those of LFS uploads left out.
        fail: path part -> status to answer with instead.
    """

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, Any]] = {}
        self.objects: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.tokens: set[str] = set()
        self.fail: dict[str, int] = {}
        self.url = ""


def _handler(hub: StandInHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def answer(self, value: Any, status: int = 200) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def begin(self) -> tuple[str, bytes] | None:
            path, data = self.path.partition("?")[0], self.body()
            hub.asked.append(f"{self.command} {path}")
            for part, status in hub.fail.items():
                if part in path:
                    self.answer({"error": f"the stand-in was told to answer {status}"}, status)
                    return None
            if not path.startswith("/store/"):
                given = self.headers.get("Authorization", "")
                hub.tokens.add(given)
                if given != f"Bearer {TOKEN}":
                    self.answer({"error": "Invalid credentials"}, 401)
                    return None
            return path, data

        def do_GET(self) -> None:
            if (asked := self.begin()) is None:
                return
            name = asked[0].removeprefix("/api/models/").partition("/revision/")[0]
            if name not in hub.repos:
                self.answer({"error": "Repository not found"}, 404)
                return
            self.answer({"id": name, "private": hub.repos[name]["private"], "sha": "0" * 40})

        def do_PUT(self) -> None:
            if (asked := self.begin()) is None:
                return
            path, data = asked
            digest = path.removeprefix("/store/")
            right = hashlib.sha256(data).hexdigest() == digest
            if right:
                hub.objects[digest] = data
            self.answer({}, 200 if right else 422)

        def do_POST(self) -> None:
            if (asked := self.begin()) is None:
                return
            path, data = asked
            if path == "/api/repos/create":
                self.create(json.loads(data))
            elif path == "/api/validate-yaml":
                head = json.loads(data)["content"].split("---")[1]
                import yaml

                wrong = not isinstance(yaml.safe_load(head), dict)
                self.answer({"errors": [{"message": "no metadata"}] * wrong}, 400 if wrong else 200)
            elif "/preupload/" in path:
                self.preupload(json.loads(data))
            elif path.endswith("/info/lfs/objects/batch"):
                self.batch(json.loads(data))
            elif path == "/verify":
                self.answer({}, 200 if json.loads(data)["oid"] in hub.objects else 422)
            elif "/commit/" in path:
                name = path.removeprefix("/api/models/").partition("/commit/")[0]
                self.commit(name, [json.loads(line) for line in data.splitlines()])
            else:
                self.answer({"error": f"the stand-in does not know {path}"}, 501)

        def create(self, asked: dict[str, Any]) -> None:
            name = f"{asked['organization']}/{asked['name']}"
            new = name not in hub.repos
            if new:
                private = asked.get("visibility") == "private" or asked.get("private") is True
                hub.repos[name] = {"private": private, "files": {}}
            self.answer({"url": f"{hub.url}/{name}"}, 200 if new else 409)

        def preupload(self, asked: dict[str, Any]) -> None:
            modes = [
                {"path": f["path"], "shouldIgnore": False,
                 "uploadMode": "lfs" if f["path"].endswith(".safetensors") else "regular"}
                for f in asked["files"]
            ]  # fmt: skip
            self.answer({"files": modes})

        def batch(self, asked: dict[str, Any]) -> None:
            objects = []
            for one in asked["objects"]:
                entry = {"oid": one["oid"], "size": one["size"]}
                if one["oid"] not in hub.objects:
                    entry["actions"] = {
                        "upload": {"href": f"{hub.url}/store/{one['oid']}"},
                        "verify": {"href": f"{hub.url}/verify"},
                    }
                objects.append(entry)
            self.answer({"transfer": "basic", "objects": objects})

        def commit(self, name: str, lines: list[dict[str, Any]]) -> None:
            files = hub.repos[name]["files"]
            for line in lines:
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = hub.objects[value["oid"]]
            oid = hashlib.sha1(json.dumps(lines).encode()).hexdigest()  # noqa: S324 - as git's
            self.answer({"commitUrl": f"{hub.url}/{name}/commit/{oid}", "commitOid": oid})

    return Handler


@contextmanager
def stand_in_hub() -> Iterator[StandInHub]:
    """Serve the stand-in on a free port of this machine."""
    hub = StandInHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
