"""Does this image do what it is for? Run inside it: `python /opt/mfo/selftest.py --image train`.

Standard library only until it imports what it tests, and one file beside seams.py, so that an image
can hold both.
Every check ends as ok, fail, or skip with its reason; a skip is never counted as a pass. Exit code:
0 nothing failed, 1 something did. With a GPU about a minute; `--kit FOLDER` adds a training step of
the miniature, `--in-build` leaves out all that asks for a GPU or would differ between two builds.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HOME = Path("/opt/mfo")
MARK = "MFO-SELFTEST "
_STEP_S = 1800
_SUM_S = 180
_SEAMS_S = 900
_NOTHING = 3  # seams.py found none of its packages


@dataclass(frozen=True)
class Result:
    """One check: its name, "ok", "fail" or "skip", and what was seen."""

    name: str
    state: str
    words: str


class Skip(Exception):  # noqa: N818 - no error
    """A check that cannot be made here, and why."""


class Wrong(Exception):  # noqa: N818
    """A check that failed, in words."""


@dataclass(frozen=True)
class Subject:
    """What is tested.

    Attributes:
        image: its name in the spec.
        spec: images.toml.
        pins: name -> version that the lock holds for this machine.
        python: minor version that the lock is made for.
        in_build: no GPU, and the same words from every build.
        kit: folder of the kit, for a step of the miniature; None: leave it out.
        lock: folder of the lock that the pins are from.
    """

    image: str
    spec: dict[str, Any]
    pins: dict[str, str]
    python: str
    in_build: bool = False
    kit: Path | None = None
    lock: Path = HOME / "lock"


def read(image: str, home: Path, *, in_build: bool = False, kit: Path | None = None) -> Subject:
    """Read what the image was made from.

    Args:
        image: a name in the spec.
        home: folder with images.toml and lock/.

    Raises:
        Wrong: something of it is missing, or is for another architecture.
    """
    machine = platform.machine()
    try:
        spec = tomllib.loads((home / "images.toml").read_text(encoding="utf-8"))
        facts = tomllib.loads((home / "lock" / "lock.toml").read_text(encoding="utf-8"))
        files = sorted((home / "lock").glob(f"{machine}.*txt"))
        text = "".join(f.read_text(encoding="utf-8") for f in files)
    except (OSError, ValueError) as error:
        raise Wrong(f"the image does not say what it was made from: {error}") from None
    if image not in spec.get("images", {}):
        raise Wrong(f"the spec has no image {image!r}")
    if not files:
        raise Wrong(f"the lock in {home} is not for {machine}")
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))
    pins |= brought(home)
    return Subject(image, spec, pins, str(facts.get("python")), in_build, kit, home / "lock")


def brought(home: Path) -> dict[str, str]:
    """Give name -> version of the wheels that a person brought into this image."""
    try:
        lines = (home / "brought.txt").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    names = [line.rpartition("/")[2].split("-") for line in lines if line.endswith(".whl")]
    return {name.replace("_", "-"): version for name, version, *_ in names}


def check_machine(subject: Subject) -> str:
    """Architecture and Python."""
    here = (
        platform.python_version()
        if not subject.in_build
        else ".".join(platform.python_version_tuple()[:2])
    )
    words = f"{platform.machine()}, Python {here}"
    if ".".join(platform.python_version_tuple()[:2]) != subject.python:
        raise Wrong(f"{words}, but the lock is for Python {subject.python}")
    return words


def check_versions(subject: Subject) -> str:
    """Every package of the lock is installed in that version, and no other package is."""
    found = installed()
    wrong = [f"{n} {found[n]} instead of {v}" for n, v in subject.pins.items()
             if n in found and found[n] != v]  # fmt: skip
    missing = [n for n in subject.pins if n not in found]
    extra = sorted(found.keys() - subject.pins.keys() - {"pip"})
    said = [
        *wrong,
        *(f"{n} is missing" for n in missing),
        *(f"{n} is not in the lock" for n in extra),
    ]
    if said:
        raise Wrong(f"{len(said)} differ from the lock: {'; '.join(sorted(said)[:8])}")
    return f"all {len(subject.pins)} packages are the lock's"


def installed() -> dict[str, str]:
    """Give name -> version of what is installed, names as indexes compare them."""
    found = {}
    for one in importlib.metadata.distributions():
        name = one.metadata["Name"]
        if name:
            found[re.sub(r"[-_.]+", "-", name).lower()] = one.version
    return found


def check_seams(subject: Subject) -> str:
    """What the kit and its recipes import and call of the packages fits (seams.toml)."""
    program = Path(__file__).resolve().with_name("seams.py")
    words = [sys.executable, str(program), "--image", subject.image, "--line", "--lock",
             str(subject.lock)]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": str(subject.kit)} if subject.kit else dict(os.environ)
    done = subprocess.run(words, capture_output=True, text=True, timeout=_SEAMS_S, env=env)
    said = _short(done.stdout or done.stderr)
    if done.returncode == _NOTHING:
        raise Skip(said)
    if done.returncode:
        raise Wrong(said)
    return said


def check_cuda(subject: Subject) -> str:
    """torch is a build for the spec's CUDA."""
    torch = _torch(subject)
    wanted = subject.spec["base"]["cuda"].partition(".")[0]
    have = torch.version.cuda
    if "+cpu" in subject.pins["torch"]:
        raise Skip(f"the lock asks for a CPU build of torch, {subject.pins['torch']}")
    if not have or have.partition(".")[0] != wanted:
        raise Wrong(f"torch {torch.__version__} is built for CUDA {have}, the image for {wanted}")
    return f"torch {torch.__version__}, CUDA {have}"


def check_gpu(subject: Subject) -> str:
    """torch sees the GPUs, or why it does not."""
    torch = _torch(subject)
    if not torch.cuda.is_available():
        reason = driver_trouble(subject.spec["base"]["driver"])
        if reason.startswith("driver"):
            raise Wrong(reason)
        raise Skip(reason)
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return f"{len(names)} x {', '.join(sorted(set(names)))}"


def driver_trouble(least: int, said: str | None = None) -> str:
    """Say why there is no GPU for torch.

    Args:
        least: driver branch that the image needs.
        said: content of /proc/driver/nvidia/version; None: look.
    """
    if said is None:
        try:
            said = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
        except OSError:
            return "no NVIDIA driver on this machine"
    found = re.search(r"\s(\d{3,})\.\d+", said)
    if found and int(found[1]) < least:
        return (f"driver {found[1]} is older than {least}, which this image's CUDA needs: "
                "ask the site for a newer one, or pin an older CUDA")  # fmt: skip
    return "driver is there, but no GPU: was the container started without its GPUs?"


def check_attention(subject: Subject) -> str:
    """flash-attn, forward and backward, against PyTorch's own attention in float32."""
    torch = _gpu(subject)
    if "flash-attn" not in subject.pins:
        raise Skip("flash-attn is not in this lock")
    from flash_attn import flash_attn_func
    from torch.nn.attention import SDPBackend, sdpa_kernel

    torch.manual_seed(0)
    inputs = [torch.randn(2, 256, 8, 64, device="cuda") for _ in range(4)]

    def run(function: Callable[..., Any], dtype: Any) -> list[Any]:
        q, k, v = (t.to(dtype).requires_grad_() for t in inputs[:3])
        out = function(q, k, v)
        out.backward(inputs[3].to(dtype))
        return [t.detach().float() for t in (out, q.grad, k.grad, v.grad)]

    def plain(q: Any, k: Any, v: Any) -> Any:
        with sdpa_kernel(SDPBackend.MATH):
            out = torch.nn.functional.scaled_dot_product_attention(
                *(t.transpose(1, 2) for t in (q, k, v)), is_causal=True
            )
        return out.transpose(1, 2)

    exact = run(plain, torch.float32)
    ours = run(lambda q, k, v: flash_attn_func(q, k, v, causal=True), torch.bfloat16)
    theirs = run(plain, torch.bfloat16)
    for name, e, a, b in zip(("output", "dq", "dk", "dv"), exact, ours, theirs, strict=True):
        off, allowed = float((a - e).abs().max()), 2 * float((b - e).abs().max()) + 1e-4
        if not off <= allowed:
            raise Wrong(f"{name} is {off:.2e} off, and bfloat16 alone allows {allowed:.2e}")
    return "forward and backward agree with PyTorch's attention within bfloat16"


def check_allreduce(subject: Subject) -> str:
    """An all-reduce over this node's GPUs (NCCL), or over two processes (gloo)."""
    torch = _torch(subject)
    gpus = 0 if subject.in_build else torch.cuda.device_count()
    ranks = gpus or 2
    # The ranks meet at this address: torchrun would give them the host's name, and in a build that
    # is the container's number, which nothing resolves.
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone",
             "--local-addr=127.0.0.1", f"--nproc-per-node={ranks}", str(Path(__file__).resolve()),
             "--rank"]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1"} | ({} if gpus else {"CUDA_VISIBLE_DEVICES": ""})
    done = subprocess.run(words, capture_output=True, text=True, timeout=2 * _SUM_S, env=env)
    if done.returncode or done.stdout.count(MARK) != ranks:
        raise Wrong(f"exit code {done.returncode}: {_first(done.stderr)}")
    return f"{ranks} ranks over {'NCCL' if gpus else 'gloo, as there is no GPU'}"


def rank() -> int:
    """Be one rank of the all-reduce; started by torchrun."""
    from datetime import timedelta

    import torch
    import torch.distributed as dist

    on_gpu = torch.cuda.is_available()
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=timedelta(seconds=_SUM_S))
    mine, world = dist.get_rank(), dist.get_world_size()
    device = f"cuda:{mine}" if on_gpu else "cpu"
    value = torch.full((1 << 16,), float(mine + 1), device=device)
    dist.all_reduce(value)
    good = bool((value == world * (world + 1) / 2).all())
    dist.destroy_process_group()
    if good:
        os.write(1, f"{MARK}{mine}\n".encode())
    return 0 if good else 1


def check_step(subject: Subject) -> str:
    """One step of the miniature, with the kit's own training stage."""
    if subject.in_build or subject.kit is None:
        raise Skip("the kit is not mounted: give --kit FOLDER")
    if "axolotl" not in subject.pins:
        raise Skip("axolotl is not in this lock")
    with tempfile.TemporaryDirectory(prefix="mfo-selftest-") as name:
        words = [sys.executable, "-m", "launch", "run", "smoke", "--runs", name, "--limit", "1",
                 "--set", "train.max_steps=1", "--set", "train.save_steps=1"]  # fmt: skip
        env = {**os.environ, "PYTHONPATH": str(subject.kit), "WANDB_MODE": "offline",
               "MFO_CACHE": f"{name}/cache"}  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True, timeout=_STEP_S, env=env,
                              cwd=name)  # fmt: skip
        # After one step the scores are no good, and the run says so: its exit code is 1 or 3.
        if not list(Path(name).glob("*/train/outputs.json")):
            raise Wrong(f"training ended with exit code {done.returncode}: {_short(done.stderr)}")
    return "one step of the miniature was trained, saved and merged"


def check_vllm(subject: Subject) -> str:
    """vLLM generates, with a tiny model of random weights."""
    if "vllm" not in subject.pins:
        raise Skip("vllm is not in this lock")
    _gpu(subject)
    from vllm import LLM, SamplingParams

    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 256,
              "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2,
              "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 64,
              "max_position_embeddings": 128, "torch_dtype": "bfloat16"}  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="mfo-selftest-") as name:
        (Path(name) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        model = LLM(model=name, load_format="dummy", skip_tokenizer_init=True, max_model_len=64,
                    gpu_memory_utilization=0.2, enforce_eager=True)  # fmt: skip
        wanted = SamplingParams(max_tokens=8, ignore_eos=True, detokenize=False)
        out = model.generate([{"prompt_token_ids": [1, 2, 3]}], wanted)
    if len(out[0].outputs[0].token_ids) != 8:
        raise Wrong(f"{len(out[0].outputs[0].token_ids)} tokens instead of 8")
    return "8 tokens from a tiny model of random weights"


def _torch(subject: Subject) -> Any:
    if "torch" not in subject.pins:
        raise Skip("torch is not in this lock")
    return importlib.import_module("torch")


def _gpu(subject: Subject) -> Any:
    if subject.in_build:
        raise Skip("an image is built without a GPU")
    torch = _torch(subject)
    if not torch.cuda.is_available():
        raise Skip("no GPU is seen")
    return torch


def _first(said: str) -> str:
    """The first line that names an error: torchrun ends with a summary of its own."""
    named = [line.strip() for line in said.splitlines() if "Error" in line or "error" in line]
    return named[0][-300:] if named else _short(said)


def _short(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else "no message")[-300:]


CHECKS: dict[str, Callable[[Subject], str]] = {
    "machine": check_machine,
    "versions": check_versions,
    "seams": check_seams,
    "cuda": check_cuda,
    "gpu": check_gpu,
    "attention": check_attention,
    "all-reduce": check_allreduce,
    "step": check_step,
    "vllm": check_vllm,
}
#: Asks for the GPU's driver: its answer is the builder's, not the image's.
_NOT_IN_BUILD = ("gpu",)


def run(subject: Subject, names: list[str] | None = None) -> list[Result]:
    """Make the checks; nothing that they raise comes through."""
    out = []
    for name in names or list(CHECKS):
        try:
            if subject.in_build and name in _NOT_IN_BUILD:
                raise Skip("an image is built without a GPU")
            result = Result(name, "ok", CHECKS[name](subject))
        except Skip as reason:
            result = Result(name, "skip", str(reason))
        except Wrong as reason:
            result = Result(name, "fail", str(reason))
        except Exception as error:  # noqa: BLE001 - one check must not end the others
            result = Result(name, "fail", f"{type(error).__name__}: {_short(error)}")
        out.append(result)
    return out


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="selftest.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--image", default="train")
    parser.add_argument("--home", type=Path, default=HOME, help="folder of images.toml and lock/")
    parser.add_argument("--json", type=Path, help="also write the results here")
    parser.add_argument("--only", action="append", choices=list(CHECKS))
    parser.add_argument("--in-build", action="store_true")
    parser.add_argument("--kit", type=Path)
    parser.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.rank:
        return rank()
    try:
        subject = read(given.image, given.home, in_build=given.in_build, kit=given.kit)
    except Wrong as reason:
        print(f"fail  {reason}", file=sys.stderr)
        return 1
    results = run(subject, given.only)
    for result in results:
        print(f"{result.state:<5} {result.name:<11} {result.words}", flush=True)
    counts = {state: sum(r.state == state for r in results) for state in ("ok", "fail", "skip")}
    print(f"{given.image}: {counts['ok']} ok, {counts['fail']} failed, {counts['skip']} skipped")
    if given.json:
        said = {"image": given.image, "machine": platform.machine(), **counts,
                "results": [asdict(r) for r in results]}  # fmt: skip
        given.json.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return 1 if counts["fail"] else 0


if __name__ == "__main__":
    sys.exit(main())
