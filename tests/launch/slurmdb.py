"""Accounting for the tests' Slurm: a real slurmdbd on a real MariaDB, about four seconds.

Debian packages: slurmdbd and mariadb-server. The database listens on the loopback alone, asks for
no password, and is deleted with the test's folder.
"""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from realslurm import RealSlurm

PROGRAMS = ("slurmdbd", "mariadbd", "mariadb-install-db", "sacctmgr", "sacct")

DBD = """\
AuthType=auth/munge
AuthInfo=socket={dir}/munge.sock
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser={user}
LogFile={dir}/dbd.log
PidFile={dir}/dbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=slurm
StoragePass=none
StorageLoc=slurm_acct
"""


def missing(path: str) -> list[str]:
    """Programs that are not installed here."""
    return [p for p in PROGRAMS if shutil.which(p, path=path) is None]


def start(slurm: RealSlurm, host: str, port: int, database: int) -> str:
    """Start database and slurmdbd; gives the lines for slurm.conf."""
    folder, user = slurm.dir, getpass.getuser()
    data = folder / "db"
    made = slurm.call("mariadb-install-db", "--no-defaults", f"--datadir={data}", f"--user={user}",
                      "--skip-test-db", check=False, timeout=120)  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    slurm.run("mariadbd", ["mariadbd", "--no-defaults", f"--datadir={data}", f"--user={user}",
                           "--bind-address=127.0.0.1", f"--port={database}", "--skip-grant-tables",
                           f"--socket={folder}/db.sock"])  # fmt: skip
    slurm.until(lambda: _listens(database), "MariaDB", 60)
    conf = folder / "slurmdbd.conf"
    conf.write_text(DBD.format(dir=folder, host=host, port=port, user=user, database=database))
    conf.chmod(0o600)  # slurmdbd refuses to read one that others may
    # slurmdbd finds its file beside slurm.conf.
    slurm.run("slurmdbd", ["slurmdbd", "-D"])
    slurm.until(lambda: _listens(port), "slurmdbd", 60)
    # Slurm's name for "the munge socket to be used towards slurmdbd".
    return (f"AccountingStorageHost=127.0.0.1\nAccountingStoragePort={port}\n"
            f"AccountingStoragePass={folder}/munge.sock")  # fmt: skip


def register(slurm: RealSlurm) -> None:
    """Make the cluster known before its controller starts."""
    done: subprocess.CompletedProcess[str] | None = None

    def added() -> bool:
        nonlocal done
        done = slurm.call("sacctmgr", "-i", "add", "cluster", "kit", check=False)
        return done.returncode == 0

    slurm.until(added, "sacctmgr to add the cluster", 30)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def forgotten(slurm: RealSlurm, number: str) -> bool:
    """Whether the controller knows a job no more."""
    return "JobId" not in slurm.say("show", "job", "-o", number, check=False).stdout
