"""What the tests of fetching fetch: a recipe and two local mirrors, as fixtures (conftest.py)."""

import hashlib
import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "corpus"))
sys.path.insert(0, str(Path(__file__).parent.parent / "scoring"))
from standin_files import git_mirror, lay_out
from standin_tasks import task_files

from launch.inputs import upstream, wanted
from launch.run import recipe

A, B, C = "a" * 40, "b" * 40, "c" * 40
QUESTION = "which of the invented drugs lowers the pressure in the eye within one hour"


def parquet(rows: list[dict[str, object]], tmp: Path) -> bytes:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.Table.from_pylist(rows), tmp / "x.parquet")
    return (tmp / "x.parquet").read_bytes()


def tokenizer() -> bytes:
    tokenizers = pytest.importorskip("tokenizers")
    words = {w: n for n, w in enumerate(["?", *sorted({*QUESTION.split(), "A", "B", "."})])}
    found = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="?"))  # noqa: S106
    found.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return str(found.to_str()).encode()


SHAPE = recipe.RECIPES / "gemma-3-27b" / "shape.json"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A recipe whose parts all lie in two local mirrors, and an empty cache."""
    rows = [
        {"id": str(n), "messages": [{"role": "user", "content": text},
                                    {"role": "assistant", "content": "an answer"}]}
        for n, text in enumerate(["a drug", f"now {QUESTION}", "another"])
    ]  # fmt: skip
    hub = tmp_path / "mirror" / "hub"
    lay_out(hub, "dataset", "org/corpus", A, {"data/one/train-0.parquet": parquet(rows, tmp_path)})
    lay_out(hub, "model", "org/model", B, {
        "model.safetensors": b"weights", "config.json": SHAPE.read_bytes(),
        "tokenizer.json": tokenizer(),
        "pytorch_model.bin": b"a pickle is never brought"})  # fmt: skip
    items = [
        {"pubid": n, "question": f"{QUESTION}?", "context": {"contexts": ["text"]},
         "final_decision": "yes"}
        for n in range(4)
    ]  # fmt: skip
    lay_out(hub, "dataset", "org/pub", C, {"x/train-0.parquet": parquet(items, tmp_path)})
    selection = json.dumps({"1": "yes", "3": "yes"}).encode()
    tasks = {f"{upstream.TASKS}/{name}": data for name, data in task_files().items()}
    # A file beside them that is not pinned, and that nobody may read.
    stray = {f"{upstream.TASKS}/stray.yaml": b"task: medqa_g\ndoc_to_text: !function evil.f\n"}
    commit = git_mirror(tmp_path / "mirror", "own/er", {"truth.json": selection, "a.py": b"x = 1"})
    fork = git_mirror(tmp_path / "fork", "own/fork", {**tasks, **stray})
    (tmp_path / "fork" / "own" / "fork.git").rename(tmp_path / "mirror" / "own" / "fork.git")
    july_tasks = {f"{upstream.TASKS}/{n}": d for n, d in task_files(july=True).items()}
    july = git_mirror(tmp_path / "july", "own/july", july_tasks)
    (tmp_path / "july" / "own" / "july.git").rename(tmp_path / "mirror" / "own" / "july.git")
    (tmp_path / "pins.toml").write_text(
        "".join(
            f'[{name}]\nrepo = "own/{repo}"\ncommit = "{at}"\n[{name}.sha256]\n'
            + "".join(f'"{p}" = "{hashlib.sha256(d).hexdigest()}"\n' for p, d in some.items())
            for name, repo, at, some in (
                ("own", "er", commit, {"a.py": b"x = 1"}),
                ("harness", "fork", fork, tasks),
                ("harness-2026-07", "july", july, july_tasks),
            )
        )
    )
    (tmp_path / "benchmarks.toml").write_text(
        '[benchmarks.pubmedqa]\nrepository = "org/pub"\nrevision = "main"\n'
        'path = "x/train-*.parquet"\nrows = 4\n[benchmarks.pubmedqa.selection]\n'
        f'repository = "own/er"\nrevision = "{commit}"\npath = "truth.json"\nrows = 2\n'
    )
    own = tmp_path / "own"
    own.mkdir()
    (own / "corpus.toml").write_text(
        '# the corpus\n[corpus]\nrepository = "org/corpus"\nrevision = "main"\n\n'
        '[components.one]\npath = "data/one/train-*.parquet"  # a pattern\n'
    )
    (own / "recipe.toml").write_text(
        'extends = "gemma-3-27b"\n[model]\nbase = "org/model"\n[corpus]\nsources = "corpus.toml"\n'
        'decontaminate = "correct"\n[eval]\nbenchmarks = ["pubmedqa"]\n[shape]\ngpus = 0\n'
        "global_batch = 4\n[train]\nmicro_batch_size = 1\n"
    )
    monkeypatch.setattr(wanted, "BENCHMARKS", tmp_path / "benchmarks.toml")
    monkeypatch.setattr(upstream, "PINS", tmp_path / "pins.toml")
    monkeypatch.setenv("MFO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # no test asks the hub
    return SimpleNamespace(recipe=own, mirror=tmp_path / "mirror", cache=tmp_path / "cache",
                           fork_commit=fork, july_commit=july, tmp=tmp_path)  # fmt: skip


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Forbid every connection and name look-up from now on."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("something wanted the network")

    def forbid() -> None:
        for name in ("connect", "connect_ex", "sendto"):
            monkeypatch.setattr(socket.socket, name, refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)

    return forbid
