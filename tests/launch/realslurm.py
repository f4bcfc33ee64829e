"""A real Slurm with four nodes on one machine, for tests: Debian's packages, no installation.

Two ways, chosen by what is allowed here. "ns" (root): each slurmd lives in namespaces of its own
(host name, processes, mounts), so killing one is killing a node. "plain": the nodes share the host
name, which needs no rights. Start and stop take about a second.

    python tests/launch/realslurm.py          # starts one, prints its SLURM_CONF, waits
"""

from __future__ import annotations

import contextlib
import ctypes
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import slurmdb

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "scontrol")
_PR_SET_PDEATHSIG = 1

CONF = """\
ClusterName=kit
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={dir}/munge.sock,cred_expire=5
CredType=cred/munge
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool-%n
SlurmctldPidFile={dir}/ctld.pid
SlurmdPidFile={dir}/slurmd-%n.pid
SlurmctldLogFile={dir}/ctld.log
SlurmdLogFile={dir}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerNode=900
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
SwitchType=switch/none
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1,bf_min_age_reserve=0
SlurmctldParameters=preempt_send_user_signal
SlurmdTimeout=5
KillWait={kill_wait}
JobRequeue=1
EnforcePartLimits=ALL
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType={accounting}
JobAcctGatherType=jobacct_gather/none
{more}
{nodes}
PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime={grace}
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10
"""


def missing() -> list[str]:
    """Programs that are not installed here."""
    return [p for p in PROGRAMS if shutil.which(p, path=_path()) is None]


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def can_unshare() -> bool:
    """Whether namespaces can be had: root, and not forbidden by a container's rules."""
    probe = ["unshare", "--uts", "--mount", "--pid", "--fork", "--mount-proc", "true"]
    return os.geteuid() == 0 and subprocess.run(probe, capture_output=True).returncode == 0


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RealSlurm:
    """One controller and four nodes, n1 to n4 ("plain": 127.0.1.1 to 127.0.1.4).

    Attributes:
        env: variables that point Slurm's commands at it.
        nodes: names of the nodes.
    """

    def __init__(self, *, mode: str = "", grace: int = 20, kill_wait: int = 3,
                 more: str = "", accounting: bool = False) -> None:  # fmt: skip
        self.dir = Path(tempfile.mkdtemp(prefix="mfoslurm"))
        self.mode = mode or ("ns" if can_unshare() else "plain")
        self.grace, self.kill_wait, self.more, self.accounting = grace, kill_wait, more, accounting
        names = [f"n{i}" if self.mode == "ns" else f"127.0.1.{i}" for i in (1, 2, 3, 4)]
        self.nodes = names
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.env = {**os.environ, "SLURM_CONF": str(self.dir / "slurm.conf"), "PATH": _path()}

    # --- up and down ----------------------------------------------------------------------------
    def start(self) -> RealSlurm:
        self.dir.chmod(0o755)
        for name in ("state", *(f"spool-{n}" for n in self.nodes)):
            (self.dir / name).mkdir()
        self._start_munge()
        self.host = socket.gethostname().split(".")[0]
        if self.accounting:
            self.more += "\n" + slurmdb.start(self, self.host, _free_port(), _free_port())
        self._write_conf()
        if self.accounting:
            slurmdb.register(self)
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        self.wait_for_nodes(self.nodes)
        return self

    def _write_conf(self) -> None:
        self.port = _free_port()
        ports = {n: _free_port() for n in self.nodes}
        lines = [
            f"NodeName={n} NodeHostname={self._hostname(n)} NodeAddr=127.0.1.{i} Port={ports[n]} "
            "CPUs=8 RealMemory=4000 Gres=gpu:4 State=UNKNOWN"
            for i, n in enumerate(self.nodes, 1)
        ]
        text = CONF.format(
            host=self.host, port=self.port, user=getpass.getuser(), dir=self.dir,
            kill_wait=self.kill_wait, grace=self.grace, nodes="\n".join(lines), more=self.more,
            accounting=f"accounting_storage/{'slurmdbd' if self.accounting else 'none'}",
        )  # fmt: skip
        (self.dir / "slurm.conf").write_text(text)
        devices = ("null", "zero", "full", "random")  # four files that every machine has
        (self.dir / "gres.conf").write_text("".join(f"Name=gpu File=/dev/{d}\n" for d in devices))
        # A line for the controller too: its name must resolve wherever the tests run.
        hosts = [f"127.0.1.{i} {n}" for i, n in enumerate(self.nodes, 1)]
        (self.dir / "hosts").write_text(
            "\n".join(["127.0.0.1 localhost", f"127.0.0.1 {self.host}", *hosts]) + "\n"
        )

    def _hostname(self, node: str) -> str:
        return node if self.mode == "ns" else self.host

    def _start_munge(self) -> None:
        key = self.dir / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        files = {n: f"--{n}-file={self.dir}/munge.{n}" for n in ("key", "pid", "log", "seed")}
        self.run("munged", ["munged", "--foreground", "--force", *files.values(),
                             f"--socket={self.dir}/munge.sock"])  # fmt: skip
        self.until(lambda: (self.dir / "munge.sock").exists(), "munged's socket")

    def start_controller(self) -> None:
        self.run("slurmctld", ["slurmctld", "-D", "-i", "-f", self.env["SLURM_CONF"]])
        self.until(lambda: self.say("ping", check=False).returncode == 0, "slurmctld")

    def start_node(self, node: str) -> None:
        slurmd = f"slurmd -D -f {self.env['SLURM_CONF']} -N {node}"
        if self.mode == "plain":
            self.run(node, slurmd.split())
            return
        inside = f"mount --bind {self.dir}/hosts /etc/hosts && hostname {node} && exec {slurmd}"
        self.run(node, ["unshare", "--uts", "--mount", "--pid", "--fork", "--kill-child",
                         "--mount-proc", "sh", "-c", inside])  # fmt: skip

    def run(self, name: str, command: list[str]) -> None:
        with (self.dir / f"{name}.out").open("ab") as out:
            self.processes[name] = subprocess.Popen(
                command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=self.env,
                preexec_fn=_die_with_parent, cwd=self.dir,
            )  # fmt: skip

    def stop(self) -> None:
        with contextlib.suppress(subprocess.SubprocessError, OSError):
            self.call("scancel", "-u", getpass.getuser(), check=False, timeout=5)
            self.until(lambda: not self.call("squeue", "-h").stdout.strip(), "jobs to end", 5)
        for node in self.nodes:
            self.kill_node(node)
        for name in ("slurmctld", "slurmdbd", "mariadbd", "munged"):
            if process := self.processes.pop(name, None):
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(3)
                process.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    def empty(self) -> None:
        """End all jobs."""
        self.call("scancel", "-u", getpass.getuser(), check=False)
        self.until(lambda: not self.call("squeue", "-h", check=False).stdout.strip(),
                    "jobs to end", 30)  # fmt: skip

    def make_whole(self) -> None:
        """Start whatever a test has killed."""
        if "slurmctld" not in self.processes:
            self.start_controller()
        for node in self.nodes:
            if node not in self.processes:
                self.start_node(node)
            self.say("update", f"nodename={node}", "state=resume", check=False)
        self.wait_for_nodes(self.nodes)

    # --- what tests do to it --------------------------------------------------------------------
    def kill_node(self, node: str) -> None:
        """Let a node vanish ("plain": only its slurmd, its jobs go on)."""
        if process := self.processes.pop(node, None):
            process.kill()
            process.wait()

    def kill_controller(self) -> None:
        """End the controller as its own restart does: what it knows is written down first."""
        process = self.processes.pop("slurmctld")
        process.terminate()
        process.wait(20)

    def call(
        self, *command: str, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command against this Slurm."""
        return subprocess.run(
            command, env=self.env, capture_output=True, text=True, check=check, timeout=timeout
        )

    def say(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run scontrol."""
        return self.call("scontrol", *words, check=check)

    def job(self, number: str) -> dict[str, str]:
        """Fields of `scontrol show job`, without the values that hold spaces."""
        out = self.say("show", "job", "-o", number, check=False).stdout
        return dict(pair.split("=", 1) for pair in out.split() if "=" in pair)

    def wait_for_nodes(self, nodes: list[str]) -> None:
        def idle() -> bool:
            lines = self.call("sinfo", "-h", "-N", "-o", "%N %t", check=False).stdout.splitlines()
            state = dict(line.split() for line in lines if line.strip())
            return all(state.get(n) in ("idle", "mix", "alloc") for n in nodes)

        self.until(idle, "nodes to be idle", 20)

    def wait_for_state(self, number: str, *states: str, seconds: float = 60) -> None:
        self.until(lambda: self.job(number).get("JobState") in states,
                    f"job {number} to be {states}", seconds)  # fmt: skip

    def until(self, true: object, what: str, seconds: float = 15) -> None:
        end = time.monotonic() + seconds
        while not true():  # type: ignore[operator]
            if time.monotonic() > end:
                logs = "".join(
                    f"\n--- {p.name}\n"
                    + "\n".join(p.read_text(errors="replace").splitlines()[-15:])
                    for p in sorted([*self.dir.glob("*.log"), *self.dir.glob("*.out")])
                )
                raise TimeoutError(f"waited {seconds:.0f} s for {what}{logs}")
            time.sleep(0.05)


@contextlib.contextmanager
def running(**options: object) -> Iterator[RealSlurm]:
    """Give a Slurm for the time of a `with` block."""
    slurm = RealSlurm(**options)  # type: ignore[arg-type]
    try:
        yield slurm.start()
    finally:
        slurm.stop()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with running() as one:
        print(
            f"export SLURM_CONF={one.env['SLURM_CONF']}   # mode {one.mode}; Ctrl-C ends it",
            flush=True,
        )
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
