"""Why did it fail: the first cause, across all ranks' logs, and the next command.

A failing rank takes the others with it, so most of what stands in a log is a consequence: closed
connections, timeouts of collectives, torchrun's and srun's own summaries. Each rule therefore says
how near to the cause its message is; the nearest one wins, and of those the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launch.run.folder import Run

#: How near a message is to the cause.
CAUSE, LOSS, ERROR, CONSEQUENCE = 1, 2, 3, 4
#: Logs are read from both ends; the cause of a long run stands near its end.
_MOST_BYTES = 8 << 20


@dataclass(frozen=True)
class Rule:
    """One kind of failure.

    Attributes:
        name: what it is called, also in tests.
        pattern: a regular expression for the line that shows it.
        says: what it means.
        fix: what to do; {run} is the run's name.
        near: CAUSE, LOSS (something vanished), ERROR (an exception that no rule knows) or
            CONSEQUENCE.
    """

    name: str
    pattern: str
    says: str
    fix: str
    near: int = CAUSE


RULES = (
    Rule("gpu-memory", r"OutOfMemoryError|CUDA out of memory|CUDA error: out of memory",
         "a GPU ran out of memory",
         "--set train.micro_batch_size=1 keeps the global batch; more nodes shard the model more"),
    Rule("host-memory", r"DefaultCPUAllocator: can't allocate memory|\bMemoryError\b|oom[-_]kill"
         r"|Out of memory: Killed|OUT_OF_MEMORY|std::bad_alloc",
         "a node ran out of main memory",
         "ask for whole nodes (memory = \"0\", exclusive = true in your site's profile)"),
    Rule("nan", r"""['"](loss|grad_norm)['"]: ['"]?(nan|inf)\b|loss is (nan|inf)|NaN detected""",
         "the loss or the gradient is no number any more",
         "look at the loss before it (mfo status); a lower train.learning_rate, or a bad row"),
    Rule("envelope", r"the loss left the recipe's envelope",
         "the loss left the envelope that the recipe gives it, and training was stopped",
         "look at the curve; a lower train.learning_rate, or a wider envelope (envelope.rise)"),
    Rule("dataset-hash", r"is not the file that was pinned|sha256 is [0-9a-f]{64}, expected",
         "a data file is not the one that the recipe pins",
         "fetch it again; if the new file is meant, pin its sha256 in corpus.toml"),
    Rule("disk-full", r"No space left on device|Disk quota exceeded"
         r"|PytorchStreamWriter failed writing|unexpected pos \d+ vs",
         "the disk, or your quota on it, is full",
         "make room (old checkpoints, train/prepared), then mfo resume {run}"),
    Rule("read-only", r"Read-only file system", "a file system cannot be written on this node",
         "use the site's scratch for --runs; if it is scratch, report the node"),
    Rule("permission", r"PermissionError|Permission denied", "a file may not be read or written",
         "compare the mounts and paths of `mfo site show` with what you may use"),
    Rule("open-files", r"Too many open files", "the limit of open files is too low",
         "a stage takes all that the hard limit allows (ulimit -Hn): ask the site for a higher"),
    Rule("missing-token", r"GatedRepoError|gated repo|401 Client Error|Invalid credentials"
         r"|api_key not configured|No API key configured|HF_TOKEN",
         "a token is missing, or may not do this",
         "export WANDB_API_KEY=… or HF_TOKEN=… before mfo (WANDB_MODE=offline does without), "
         "then mfo resume {run}"),
    Rule("not-fetched", r"LocalEntryNotFoundError|OfflineModeIsEnabled|couldn't connect to "
         r"'https://huggingface|outgoing traffic has been disabled|Cannot find (the )?cached",
         "something was not fetched before, and the job may not fetch it",
         "on a machine with a network: mfo fetch RECIPE --site SITE"),
    Rule("wrong-image", r"[Ee]xec format error|unrecognized option '--(container|environment)"
         r"|No module named '?submitit|executable file not found in \$PATH|pyxis: .*(fail|error)"
         r"|(unable|could not) to open (image|container)|apptainer: (command )?not found"
         r"|no such file or directory: .*\.(sif|sqsh)",
         "the container image is not there, is for another machine, or is not the kit's",
         "mfo site check SITE; the image must be built for this architecture and hold submitit"),
    Rule("no-gpu", r"Torch not compiled with CUDA|No CUDA GPUs are available|no NVIDIA driver"
         r"|CUDA driver version is insufficient|no kernel image is available",
         "torch does not find a GPU that it can use",
         "mfo doctor --site SITE on the nodes; the image's CUDA must fit the driver"),
    Rule("gpu-fault", r"uncorrectable ECC|NVRM: Xid|fell off the bus"
         r"|CUDA error: (an illegal|unspecified|device-side)",
         "a GPU is faulty, or a kernel wrote where it must not",
         "leave it out (sbatch = {{exclude = \"NODE\"}} in your profile), then mfo resume "
         "{run}"),
    Rule("import-error", r"(ModuleNotFoundError|ImportError): ", "a package is missing or broken",
         "install the pins (make setup), or use the kit's image"),
    Rule("port-taken", r"EADDRINUSE|[Aa]ddress already in use",
         "the port where the ranks meet is taken by another program",
         "mfo resume {run}: another port is chosen"),
    Rule("unknown-name", r"Name or service not known|[Tt]emporary failure in name resolution"
         r"|nodename nor servname|gai error",
         "a node's name is not known, on another node or in its own container",
         "the container needs the site's /etc/hosts or DNS: add it to mounts"),
    Rule("cut-weights", r"SafetensorError|incomplete metadata|header too (large|small)"
         r"|PytorchStreamReader failed", "a file of weights is cut or damaged",
         "remove it so that it is fetched again; checkpoints without whole.json are set aside"),
    Rule("configuration", r"validation errors? for|ValidationError|Input should be a",
         "Axolotl refuses its configuration",
         "mfo run … --dry-run shows the file; --set train.KEY=VALUE corrects it"),
    Rule("time-limit", r"DUE TO TIME LIMIT", "the time limit came before training had saved",
         "longer time_min.train or an earlier signal_s in your profile; then mfo resume {run}"),
    Rule("lost-node", r"Node failure on|DUE TO NODE FAILURE|NODE_FAIL|Socket timed out on send/recv"
         r".*slurmd|error: Node .* not responding", "a node was lost",
         "mfo resume {run}: it goes on from the last whole checkpoint", LOSS),
    Rule("preempted", r"DUE TO PREEMPTION", "a job of higher priority took the nodes",
         "nothing: the job is requeued; mfo status {run}", LOSS),
    Rule("cancelled", r"CANCELLED (AT|BY)(?!.*DUE TO)", "the job was cancelled",
         "mfo resume {run}", CONSEQUENCE),
    Rule("crash", r"SIGSEGV|Segmentation fault|SIGBUS|Bus error|signal 11\b",
         "a rank crashed inside compiled code",
         "mfo logs {run} --rank R; a full /dev/shm or a library of another build are usual"),
    Rule("killed", r"Signal 9 \(SIGKILL\)|exitcode\s*: -9|ended with exit code -9|\bKilled\b",
         "a rank was killed from outside, most often because memory ran out",
         "look at the node's memory (sacct -j JOB -o MaxRSS); mfo resume {run}", LOSS),
    Rule("never-came", r"RendezvousTimeoutError|[Tt]imed out .*waiting for clients"
         r"|client socket has timed out|StoreTimeout|DistStoreError|DistNetworkError",
         "not all nodes came to the meeting point",
         "look at the other nodes' logs (mfo logs {run}); is the port open between nodes?", LOSS),
    Rule("late-rank", r"Watchdog caught collective operation timeout|[Tt]imed out waiting \d+\s?ms"
         r"|collective (operation )?timeout|ncclSystemError|ncclRemoteError",
         "a collective operation timed out: one rank came late, or not at all",
         "mfo logs {run} --rank R of the late one; if all were there, the network", CONSEQUENCE),
    Rule("peer-gone", r"[Cc]onnection (closed|reset) by peer|Broken pipe", "another rank went away",
         "mfo logs {run} --rank R for each rank: the one that fell silent first", CONSEQUENCE),
    # Last: what no rule knows. The kit's, submitit's and torchrun's own errors only report it.
    Rule("exception", r"^(\[default\d+\]:)?(?!checks\.|corpus\.|launch\.|submitit\.)"
         r"([a-z_][\w.]*\.)?(?!KitError|ChildFailedError|CalledProcessError)"
         r"[A-Z]\w*(Error|Exception)(: |$)",
         "a program ended with an exception that mfo has no name for",
         "mfo logs {run} has the calls that led to it; a package of another version than the pins "
         "is usual (make setup, or the kit's image)", ERROR),
)  # fmt: skip
#: A program that only warns goes on: every run without a GPU says that torch has no CUDA.
_WARNS = re.compile(r"\[(WARNING|INFO|DEBUG)\]|\w+Warning: ")
_COMPILED = [(rule, re.compile(rule.pattern)) for rule in RULES]
_TEE = re.compile(r"^\[default(\d+)\]:")
_WATCHDOG = re.compile(r"\[Rank (\d+)\].*?(?:SeqNum|last enqueued work: ?)=?\s?(\d+)")
_SAYS_RANK = re.compile(r"\[(?:Gloo )?[Rr]ank ?(\d+)\]|\brank (\d+)\b|\brank(\d+)\b")


@dataclass(frozen=True)
class Finding:
    """What a log says went wrong.

    Attributes:
        rule: the kind of failure.
        line: the line that shows it.
        where: file and line number.
        rank: the rank that said it, where that is known.
        late: the rank that others waited for, where that is known.
    """

    rule: Rule
    line: str
    where: str
    rank: str = ""
    late: str = ""


def diagnose(logs: Iterable[Path]) -> Finding | None:
    """Find the first cause in these logs; None where nothing known stands in them."""
    found: list[Finding] = []
    texts: list[str] = []
    for path in logs:
        text = _read(path)
        texts.append(text)
        for number, line in enumerate(text.splitlines(), 1):
            for rule, pattern in _COMPILED:
                if pattern.search(line) and not (rule.near == CAUSE and _WARNS.search(line)):
                    said = line.strip()[:300]
                    found.append(Finding(rule, said, f"{path}:{number}", _rank(line)))
                    break
    if not found:
        return None
    best = min(found, key=lambda f: f.rule.near)  # min keeps the first of equals
    if best.rule.name == "late-rank":
        from dataclasses import replace

        best = replace(best, late=late_rank("\n".join(texts)))
    return best


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES)
            if len(data) == _MOST_BYTES:
                file.seek(-_MOST_BYTES, 2)
                data += b"\n" + file.read()
    except OSError:
        return ""
    return data.decode(errors="replace").replace("\r", "\n")


def _rank(line: str) -> str:
    if match := _SAYS_RANK.search(line):
        return next(g for g in match.groups() if g is not None)
    match = _TEE.match(line)
    return match[1] if match else ""


def late_rank(text: str) -> str:
    """Say which rank the others waited for, in words; "" where the logs do not show it.

    NCCL's watchdog prints each waiting rank's last operation: the rank with the smallest number is
    behind, and a rank of which nothing is heard did not even get there.
    """
    seen: dict[int, int] = {}
    for rank, number in _WATCHDOG.findall(text):
        seen[int(rank)] = int(number)
    if len(set(seen.values())) > 1:
        return f"rank {min(seen, key=lambda r: seen[r])}"
    complaining = {int(r) for r in _complaints(text)}
    world = max((int(n) for n in re.findall(r"world_size['\"=: ]+(\d+)", text)), default=0)
    everyone = {int(n) for n in re.findall(r"^\[default(\d+)\]:", text, re.MULTILINE)}
    everyone |= {int(n) for n in re.findall(r"rank\s+: (\d+) \(local_rank", text)}  # torchrun's end
    silent = (set(range(world)) or everyone) - complaining
    return f"rank {min(silent)}" if complaining and len(silent) == 1 else ""


def _complaints(text: str) -> list[str]:
    out = []
    for line in text.splitlines():
        if re.search(r"[Tt]imed out waiting \d+\s?ms|collective operation timeout", line):
            out += [rank] if (rank := _rank(line)) else []
    return out


def logs_of(run: Run) -> list[Path]:
    """Every log that a run's stages have left, of the last attempt, the ranks' own first."""
    out: list[Path] = []
    for stage in run.stages:
        folder = run.folder(stage)
        attempts = sorted((folder / "ranks").glob("*"), key=lambda p: p.stat().st_mtime)
        for attempt in attempts[-1:]:
            out += sorted(attempt.glob("node*/*/attempt_0/*/std*.log"))
        out += [p for p in sorted(folder.glob("log*")) if p.is_file()]
        out += sorted((run.path / ".submitit" / stage).glob("*_log.out"))
    return out
