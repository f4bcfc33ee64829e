"""Cause the failures whose logs lie in this folder, for real, on a machine without a GPU.

    python tests/launch/logs/make.py [NAME ...]       # all: some two minutes; needs Slurm and root

Paths, host names and times are scrubbed; long logs are cut to their head and tail. What needs a GPU
or a real cluster (NCCL, CUDA's own out-of-memory) is not here: no log is made up.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
sys.path[:0] = [str(ROOT), str(HERE.parent)]

RANKS = """
import datetime, os, sys, time
import torch, torch.distributed as dist
dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=8))
rank = dist.get_rank()
x = torch.ones(4)
dist.all_reduce(x)
"""
LOGS: dict[str, Callable[[Path], str]] = {}


def log(make: Callable[[Path], str]) -> Callable[[Path], str]:
    LOGS[make.__name__.replace("_", "-")] = make
    return make


def say(command: list[str] | str, **more: object) -> str:
    done = subprocess.run(
        command, shell=isinstance(command, str), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", timeout=300, **more,
    )  # type: ignore[call-overload]  # fmt: skip
    return str(done.stdout) + f"\nexit code {done.returncode}\n"


def torchrun(place: Path, body: str, *options: str, before: str = "") -> str:
    file = place / "ranks.py"
    file.write_text(RANKS + body)
    start = options or ("--standalone",)
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--tee=3",
             f"--log-dir={place / 'ranks'}", *start, str(file)]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    if before:
        return say(before + " exec " + " ".join(words), env=env, cwd=place)
    return say(words, env=env, cwd=place)


@log
def host_memory(place: Path) -> str:
    return torchrun(place, "if rank == 1: y = torch.ones(1 << 42)\ndist.all_reduce(x)\n")


@log
def rank_killed(place: Path) -> str:
    return torchrun(place, "import signal\nif rank == 1: os.kill(os.getpid(), signal.SIGKILL)\n"
                    "dist.all_reduce(x)\n")  # fmt: skip


@log
def late_rank(place: Path) -> str:
    return torchrun(place, "if rank == 1: time.sleep(30)\ndist.all_reduce(x)\n")


@log
def segfault(place: Path) -> str:
    return torchrun(place, "import ctypes\nif rank == 0: ctypes.string_at(0)\ndist.all_reduce(x)\n")


@log
def open_files(place: Path) -> str:
    body = "if rank == 0: keep = [open(__file__) for _ in range(5000)]\ndist.all_reduce(x)\n"
    return torchrun(place, body, before="ulimit -n 256;")


@log
def disk_full(place: Path) -> str:
    small = place / "small"
    small.mkdir()
    say(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)])
    try:
        return torchrun(place, f"if rank == 0: torch.save(torch.ones(1 << 20), {str(small)!r} + "
                        "'/model.pt')\ndist.all_reduce(x)\n")  # fmt: skip
    finally:
        say(["umount", "-l", str(small)])


@log
def read_only(place: Path) -> str:
    small = place / "small"
    small.mkdir()
    say(["mount", "-t", "tmpfs", "-o", "size=1m,ro", "none", str(small)])
    try:
        return torchrun(place, f"if rank == 0: open({str(small)!r} + '/progress.jsonl', 'a')\n"
                        "dist.all_reduce(x)\n")  # fmt: skip
    finally:
        say(["umount", "-l", str(small)])


@log
def import_error(place: Path) -> str:
    return torchrun(place, "import flash_attn_not_built\n")


@log
def no_cuda(place: Path) -> str:
    return torchrun(place, "x.cuda()\n")


@log
def cut_weights(place: Path) -> str:
    return torchrun(
        place,
        """
from safetensors.torch import load_file, save_file
if rank == 0:
    save_file({"a": x}, "model.safetensors")
    whole = open("model.safetensors", "rb").read()
    open("model.safetensors", "wb").write(whole[:-5])
    load_file("model.safetensors")
dist.all_reduce(x)
""",
    )


@log
def port_taken(place: Path) -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        return torchrun(place, "", "--nnodes=1", "--rdzv-backend=static", "--node-rank=0",
                        "--master-addr=127.0.0.1", f"--master-port={port}")  # fmt: skip


@log
def node_never_came(place: Path) -> str:
    return torchrun(place, "", "--nnodes=2", "--rdzv-backend=static", "--node-rank=0",
                    "--master-addr=127.0.0.1", "--master-port=29719",
                    "--rdzv-conf=timeout=8")  # fmt: skip


@log
def name_unknown(place: Path) -> str:
    return torchrun(place, "", "--nnodes=2", "--rdzv-backend=static", "--node-rank=1",
                    "--master-addr=nid001234.invalid", "--master-port=29719",
                    "--rdzv-conf=timeout=8,connect_timeout=8")  # fmt: skip


@log
def wandb_without_key(place: Path) -> str:
    env = {**os.environ, "WANDB_MODE": "online", "HOME": str(place)}
    env.pop("WANDB_API_KEY", None)
    return say([sys.executable, "-c", "import wandb; wandb.init(project='p')"], env=env, cwd=place)


@log
def not_fetched(place: Path) -> str:
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(place)}
    code = (
        "from transformers import AutoConfig; AutoConfig.from_pretrained('google/gemma-3-27b-it')"
    )
    return say([sys.executable, "-c", code], env=env, cwd=place)


@log
def dataset_hash(place: Path) -> str:
    (place / "rows.jsonl").write_text(
        '{"id": "1", "conversations": [{"from": "human", "value": "Q"}, '
        '{"from": "gpt", "value": "A"}]}\n'
    )
    (place / "corpus.toml").write_text(
        f'[components.rows]\npath = "rows.jsonl"\nrows = 1\nsha256 = "{"0" * 64}"\n'
    )
    code = (
        "from pathlib import Path; from corpus.prepare import prepare; "
        f"prepare(Path({str(place / 'corpus.toml')!r}), Path({str(place / 'out')!r}))"
    )
    (place / "out").mkdir()
    return say([sys.executable, "-c", code], cwd=ROOT)


@log
def package_of_another_python(place: Path) -> str:
    wheel = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:",
             "--python-version=3.10", "multiprocess==0.70.19"]  # fmt: skip
    say(wheel, cwd=place)
    say([sys.executable, "-m", "zipfile", "-e", *map(str, place.glob("*.whl")), "."], cwd=place)
    env = {**os.environ, "PYTHONPATH": str(place), "MFO_CACHE": str(place / "cache")}
    say([sys.executable, "-m", "launch", "run", "smoke", "--set", "train.max_steps=2",
         "--runs", str(place / "runs")], cwd=ROOT, env=env)  # fmt: skip
    lines = next(place.glob("runs/*/train/log")).read_text().splitlines()
    # The configuration that Axolotl prints is left out; what it warns of on every CPU is not.
    first = next(
        n for n, line in enumerate(lines) if line.endswith("Traceback (most recent call last):")
    )
    warned = [line for line in lines[:first] if "WARNING" in line]
    return "\n".join([*warned, *lines[first : first + 100]])


@log
def axolotl_key(place: Path) -> str:
    (place / "a.yaml").write_text("base_model: x\nmicro_batch_size: many\ndatasets: []\n")
    return say([sys.executable, "-m", "axolotl.cli.train", str(place / "a.yaml")], cwd=place)


def on_slurm(work: Callable[..., str], **options: object) -> str:
    from realslurm import running

    with running(**options) as slurm:
        return work(slurm)


def job(slurm: Any, place: Path, *commands: str, fault: Callable[[], object] = lambda: None) -> str:
    place.chmod(0o755)
    out = place / "job.out"
    script = place / "job.sh"
    script.write_text("#!/bin/bash\n" + "\n".join(commands) + "\n")
    words = ["--no-requeue", "-N2", f"--output={out}", "--time=1", "--signal=USR2@10", str(script)]
    number = slurm.call("sbatch", *words).stdout.split()[-1]
    slurm.wait_for_state(number, "RUNNING", "FAILED", "COMPLETED")
    time.sleep(3)
    fault()
    slurm.wait_for_state(number, "FAILED", "NODE_FAIL", "TIMEOUT", "COMPLETED", seconds=240)
    time.sleep(2)
    return out.read_text()


@log
def node_lost(place: Path) -> str:
    return on_slurm(lambda s: job(s, place, "srun --kill-on-bad-exit=1 sleep 300",
                                  fault=lambda: s.kill_node(s.nodes[1])))  # fmt: skip


@log
def time_limit(place: Path) -> str:
    return on_slurm(lambda s: job(s, place, "srun sh -c 'trap : USR2; sleep 300; sleep 300'"))


@log
def no_pyxis(place: Path) -> str:
    return on_slurm(lambda s: job(s, place, "srun --container-image=/images/mfo-train.sqsh python"))


@log
def wrong_architecture(place: Path) -> str:
    elf = bytearray(Path("/bin/true").read_bytes())
    elf[18:20] = b"\xb7\x00"  # e_machine: AArch64
    (place / "python").write_bytes(bytes(elf))
    (place / "python").chmod(0o755)
    return on_slurm(lambda s: job(s, place, f"srun {place}/python -m submitit.core._submit x"))


@log
def image_without_submitit(place: Path) -> str:
    return on_slurm(lambda s: job(s, place, "srun /usr/bin/python3 -S -m submitit.core._submit x"))


def scrub(text: str, place: Path) -> str:
    for found, put in ((str(place), "/runs/RUN/train"), (str(ROOT), "/kit"), (sys.prefix, "/env"),
                       (str(Path(sys.base_prefix)), "/python")):  # fmt: skip
        text = text.replace(found, put)
    text = re.sub(rf"\b{re.escape(socket.gethostname())}\b", "node1", text)
    text = re.sub(r"/tmp/[\w./-]+", "/tmp/X", text)  # noqa: S108
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    lines = text.splitlines()
    if len(lines) > 130:
        lines = [*lines[:50], f"[… {len(lines) - 120} lines left out …]", *lines[-70:]]
    return "\n".join(line[:400].rstrip() for line in lines) + "\n"


if __name__ == "__main__":
    for name in sys.argv[1:] or LOGS:
        with tempfile.TemporaryDirectory(prefix="mfolog") as folder:
            text = scrub(LOGS[name](Path(folder)), Path(folder))
        (HERE / f"{name}.log").write_text(text)
        print(name, len(text), flush=True)
