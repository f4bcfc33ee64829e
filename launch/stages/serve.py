"""Model servers of a stage: started, awaited, watched, and ended with it.

    with Server(vllm(folder, "trained", gpus=4), place) as server:
        client = ServedClient(server, identity=sha256, record=place / "calls.jsonl")
        replies = client.ask(calls)

One server at a time: on a cluster's node each takes every GPU. A server ends with the process that
started it, however that ends: Linux kills it (PR_SET_PDEATHSIG), and the kit's own servers look for
their parent themselves. One that dies at work is started again, twice at most; its replies so far
are kept by the client. One that dies before it first answered would do so again, and ends the stage
with the first cause out of its log.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from kit.errors import KitError
from kit.files import read_json, write_json
from kit.process import die_with_parent, end_group, end_left_group, name_group
from launch.run import ports
from launch.stages import server_log
from scoring.client import Call, Client, Endpoint, Reply
from scoring.models import CPU_ENGINE, VLLM_SETTINGS

HOST = "127.0.0.1"
ANY = "model"  # what the kit's own servers say of themselves, whatever they serve
STARTS = 3  # of a server before it is given up: the first one and two more
TAIL_LINES = 12


@dataclass(frozen=True)
class Serving:
    """How a model is served.

    Attributes:
        name: what it is called here; vLLM knows the model by it, and the log is named after it.
        command: with {port} where the port goes.
        ready_s: seconds that it may take until it answers.
        environment: beside this process's own.
    """

    name: str
    command: tuple[str, ...]
    ready_s: float
    environment: Mapping[str, str] = field(default_factory=dict)


def vllm(
    model: str, name: str, *, gpus: int, max_length: int, dtype: str = "auto", seed: int = 0
) -> Serving:
    """Serve a folder of weights with vLLM on all GPUs of this node; on the CPU where it has none.

    Its window is `max_length`; 0: the model's own, as vLLM reads it from its configuration.

    Sampling is what each request says: without `--generation-config vllm` the model's own folder
    would add its top_k and top_p, which the published scripts did not use.
    """
    command = (
        "vllm", "serve", model, "--served-model-name", name, "--host", HOST, "--port", "{port}",
        "--tensor-parallel-size", str(max(1, gpus)), "--dtype", dtype,
        *(("--max-model-len", str(max_length)) if max_length else ()),
        "--seed", str(seed), "--generation-config", "vllm",
        *(f"--{key.replace('_', '-')}" for key in VLLM_SETTINGS),
    )  # fmt: skip
    environment = {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    if not gpus:
        environment |= {key: os.environ.get(key, value) for key, value in CPU_ENGINE.items()}
    # 235B parameters come from a parallel file system at some GB/s.
    return Serving(name, command, 3600.0, environment)


def small(model: str, name: str, *, max_length: int, dtype: str = "auto") -> Serving:
    """Serve a folder of weights with the kit's own small server (no GPU)."""
    command = (
        sys.executable, "-m", "scoring.small_server", model, "--port", "{port}",
        "--dtype", dtype, "--max-length", str(max_length), "--name", name,
    )  # fmt: skip
    return Serving(name, command, 300.0, {"HF_HUB_OFFLINE": "1"})


def scripted(key: str, *, first_bias: float = 0.0) -> Serving:
    """Serve the stand-in for a judge, which grades by rule."""
    command = (
        sys.executable, "-m", "scoring.scripted_judge", "--port", "{port}", "--key", key,
        "--first-bias", f"{first_bias:g}",
    )  # fmt: skip
    return Serving("judge", command, 60.0)


class Server:
    """One model server, as a context.

    Args:
        serving: how it is started.
        folder: receives server-<name>.log, with the command and what it printed.
        tell: told in words what happens.

    Raises:
        KitError: its program is not installed, or it did not come to answer; with the last lines
            of its log.
    """

    def __init__(self, serving: Serving, folder: Path, tell: Callable[[str], None]) -> None:
        self.serving, self.folder, self.tell = serving, folder, tell
        self.log = folder / f"server-{serving.name}.log"
        self.mark = folder / f"server-{serving.name}.json"
        self.process: subprocess.Popen[bytes] | None = None
        self.port, self.starts = 0, 0
        self.answered = False  # at least once, since it was made
        self._begun = 0  # where the log of this start begins, in bytes

    @property
    def url(self) -> str:
        """Where it answers, with its /v1; another one after a restart."""
        return f"http://{HOST}:{self.port}/v1"

    def __enter__(self) -> Server:
        """Start it and wait until it answers."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        """End it."""
        self.stop()

    def died(self) -> bool:
        """Whether its process has ended without being asked to."""
        return self.process is not None and self.process.poll() is not None

    def restart(self) -> None:
        """Start it again after it died.

        Raises:
            KitError: it was started often enough.
        """
        self.tell(f"the server of {self.serving.name} {self._how()}; its log ends with:\n"
                  f"{self.tail()}")  # fmt: skip
        self.stop()
        if self.starts >= STARTS:
            raise self._failed(f"the server of {self.serving.name} died {STARTS} times")
        self._start()

    def stop(self) -> None:
        """End it and whatever it started: SIGTERM, after 20 s SIGKILL."""
        process, self.process = self.process, None
        if process is None:
            return
        end_group(process.pid, grace_s=20.0)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5.0)

    def tail(self) -> str:
        """Give the last lines that it printed."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        said = [line[:300] for line in lines if line.strip() and not line.startswith("$ ")]
        return "\n".join(said[-TAIL_LINES:])

    def _start(self) -> None:
        program = self._program()
        if program is None:
            raise KitError(
                f"{self.serving.command[0]} is not installed here",
                where="PATH",
                cause=f"the server of {self.serving.name} is started with it, in the eval image",
                fix="mfo site check SITE; or --set judge.base_url=URL for a judge that is served "
                "elsewhere",
            )
        self.starts += 1
        self._end_left()
        # Another number at every start: a port that somebody else took meanwhile is left alone.
        self.port = ports.free_port(os.getpid() * 7 + self.starts * 131, HOST)
        words = [word.replace("{port}", str(self.port)) for word in self.serving.command]
        command = [program, *words[1:]]
        with self.log.open("ab") as log:
            self._begun = log.tell()
            log.write(f"$ {' '.join(command)}\n".encode())
            log.flush()
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, **self.serving.environment}, process_group=0,
                preexec_fn=_follow,
            )  # fmt: skip
        write_json(self.mark, name_group(self.process.pid))
        self._await()

    def _end_left(self) -> None:
        """End what a killed server left: vLLM's engine outlives its server, and holds memory."""
        for mark in sorted(self.folder.glob("server-*.json")):
            if left := end_left_group(read_json(mark) or {}):
                self.tell(f"ended what a killed server left, {mark.stem}: processes {left}")
            mark.unlink(missing_ok=True)

    def _program(self) -> str | None:
        """The server's program, of this interpreter's environment where it is there."""
        beside = str(Path(sys.executable).parent)
        path = os.pathsep.join([beside, os.environ.get("PATH", os.defpath)])
        return shutil.which(self.serving.command[0], path=path)

    def _await(self) -> None:
        begun, told = time.monotonic(), 0.0
        # Dead and yet an answer: that is another program's, which has taken the port.
        while not self._healthy() or self.died():
            waited = time.monotonic() - begun
            if self.died():
                how = self._how()
                self.process = None
                taken = server_log.TAKEN.search("\n".join(self._lines()))
                if self.starts >= STARTS or not (self.answered or taken):
                    raise self._failed(
                        f"the server of {self.serving.name} {how} before it answered"
                    )
                self.tell(f"the server of {self.serving.name} {how}; starting it again")
                self._start()
                return
            if waited > self.serving.ready_s:
                raise self._failed(
                    f"the server of {self.serving.name} did not answer within {waited:.0f} s"
                )
            if waited - told > 30:
                told = waited
                self.tell(f"waiting for the server of {self.serving.name}, {waited:.0f} s")
            time.sleep(0.25)
        self._check_name()
        self.answered = True
        self.tell(f"the server of {self.serving.name} answers at {self.url} after "
                  f"{time.monotonic() - begun:.1f} s")  # fmt: skip

    def _healthy(self) -> bool:
        try:
            with self._get("/health") as answer:
                return bool(answer.status == 200)
        except (OSError, ValueError):
            return False

    def _get(self, path: str) -> Any:
        # No proxy of the environment: this is the machine's own address.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return opener.open(f"http://{HOST}:{self.port}{path}", timeout=5)

    def _check_name(self) -> None:
        """Refuse a server that says it serves another model than the one that was started.

        Raises:
            KitError: it does. A server that lists no models says nothing.
        """
        try:
            with self._get("/v1/models") as answer:
                listed = json.loads(answer.read(1 << 20))["data"]
            names = [str(one["id"]) for one in listed]
        except (OSError, ValueError, KeyError, TypeError):
            return
        if names != [ANY] and self.serving.name not in names:
            raise KitError(
                f"another model answers where {self.serving.name} was started: "
                + (", ".join(names)[:200] or "none"),
                where=self.url,
                cause="another program's server has taken this port",
                fix="mfo resume RUN takes another port",
            )

    def _how(self) -> str:
        code = self.process.returncode if self.process else None
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def _failed(self, what: str) -> KitError:
        lines = self.tail().splitlines()
        first = server_log.first_cause(self._lines())
        ending = "its log ends with: " + " | ".join(lines[-4:]) if lines else "it printed nothing"
        todo = server_log.hint(first) or "mend that"
        return KitError(
            what,
            where=str(self.log),
            cause=first or ending,
            fix=f"{todo}; then mfo resume RUN: every reply so far is kept",
        )

    def _lines(self) -> list[str]:
        return server_log.since(self.log, self._begun)


def _follow() -> None:
    """In the server, before exec: it ends with this process, and not by a warning meant for it."""
    signal.signal(
        signal.SIGUSR2, signal.SIG_IGN
    )  # Slurm's, before the time limit, to every process
    die_with_parent()


class ServedClient(Client):
    """A client of a server that is started again where it dies in the middle.

    Args:
        server: it runs already.
        identity: of the weights.
        record: of requests and replies.
        **more: of Client.
    """

    def __init__(self, server: Server, identity: str, record: Path, **more: Any) -> None:
        self.server = server
        name = server.serving.name
        super().__init__(Endpoint(server.url, name, identity), record, **more)

    def ask(self, calls: Sequence[Call]) -> list[Reply]:
        """Give the reply to each call, as Client does.

        Raises:
            KitError: as Client's, or the server died too often.
        """
        while True:
            try:
                return super().ask(calls)
            except KitError:
                if not self.server.died():
                    raise
                self.server.restart()
                self.moved()

    def moved(self) -> None:
        """Ask the server where it is now."""
        self.endpoint = replace(self.endpoint, url=self.server.url)
