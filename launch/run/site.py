"""A site: a place to run. Profiles are TOML files in launch/sites, or in the user's own folder.

A profile says what the place is; who runs there (account, partition, quality of service) comes from
the environment variables that it names. Its table [evidence] says of each setting whether the
place documents it or whether it is a guess.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any, Literal

from kit.errors import KitError, nearest
from kit.files import read_toml
from launch.run.recipe import merge

DEFAULT_MIN = {"corpus": 120, "train": 720, "evaluate": 360, "judge": 30}
#: The images that a site names.
IMAGES = ("train", "eval")
#: Tables of a profile whose keys are names that are known: of stages, of images.
NAMED: dict[str, tuple[str, ...]] = {
    "time_min": tuple(DEFAULT_MIN),
    "pythons": tuple(DEFAULT_MIN),
    "images": IMAGES,
}
SITES = Path(__file__).resolve().parent.parent / "sites"
Scheduler = Literal["local", "slurm"]
Runtime = Literal["none", "container-engine", "pyxis", "apptainer", "podman-hpc"]
Evidence = Literal["documented", "guess", "kit"]
_SECRET = ("TOKEN", "SECRET", "PASSWORD", "_KEY")


@dataclass(frozen=True)
class Site:
    """Where a run runs.

    Attributes:
        name: the file's stem.
        scheduler: "local" or "slurm".
        nodes: nodes of the training stage; the other stages run on one.
        processes_per_node: training ranks on each node.
        gpus_per_node: 0 where the ranks run on the CPU.
        cpus_per_node: cores asked for on each node; 0: do not ask.
        memory: of a node, as sbatch's --mem takes it ("0" is all of it); "": do not ask.
        exclusive: whether whole nodes are asked for.
        account_env, partition_env, qos_env: names of environment variables that hold them.
        account_required: refuse to submit without an account.
        partition: where partition_env is not set; "": the cluster's default.
        time_min: minutes for each stage, under its name.
        signal_s: seconds before the limit at which training is asked to save and to stop.
        network: whether compute nodes reach the internet.
        runtime: how the stages' container is started, one of Runtime.
        images: image of the roles "train" and "eval".
        mounts: folders that the container sees, "SRC:DST"; ${VARIABLES} are filled in.
        edf: what a Container Engine file says beside image, mounts and environment.
        python: interpreter inside the container, or of the nodes; "": the one that runs mfo.
        pythons: without a container, the interpreter of single stages, {evaluate = "PATH"}; what is
            not named runs by `python`.
        setup: shell lines before the stage starts, for example "module load …".
        sbatch: further options of sbatch, for example {constraint = "gpu"}.
        srun: further arguments of srun.
        scratch, store: folders for runs and for what is kept; ${VARIABLES} are filled in.
        cache: base models and other things that outlive a run.
        environment: set for every stage.
        allreduce_gbps: the site's own reference for doctor, GB/s; 0: none known.
        hardware: what the planner counts with: the GPU's name, GB/s into a node (plan_assume.py).
        evidence: for each setting "documented", "guess" or "kit" (our own choice).
    """

    name: str
    title: str
    scheduler: Scheduler = "local"
    nodes: int = 1
    processes_per_node: int = 2
    gpus_per_node: int = 0
    cpus_per_node: int = 0
    memory: str = ""
    exclusive: bool = False
    account_env: str = "SBATCH_ACCOUNT"
    partition_env: str = "SBATCH_PARTITION"
    qos_env: str = "SBATCH_QOS"
    account_required: bool = False
    partition: str = ""
    time_min: dict[str, int] = field(default_factory=dict)
    signal_s: int = 300
    network: bool = True
    runtime: Runtime = "none"
    images: dict[str, str] = field(default_factory=dict)
    mounts: list[str] = field(default_factory=list)
    edf: dict[str, Any] = field(default_factory=dict)
    python: str = ""
    pythons: dict[str, str] = field(default_factory=dict)
    setup: list[str] = field(default_factory=list)
    sbatch: dict[str, str] = field(default_factory=dict)
    srun: list[str] = field(default_factory=list)
    scratch: str = ""
    store: str = ""
    cache: str = "~/.cache/mfo"
    environment: dict[str, str] = field(default_factory=dict)
    allreduce_gbps: float = 0.0
    hardware: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, Evidence] = field(default_factory=dict)

    @property
    def world_size(self) -> int:
        """Number of training ranks over all nodes."""
        return self.nodes * self.processes_per_node

    @property
    def cache_path(self) -> Path:
        """The cache folder; MFO_CACHE in the environment wins."""
        return Path(expand(os.environ.get("MFO_CACHE") or self.cache)).expanduser().resolve()


def expand(text: str) -> str:
    """Fill in ${VARIABLES} from the environment; what is not set stays as it is written."""
    return Template(text).safe_substitute(os.environ)


def user_sites() -> Path:
    """Folder of the user's own profiles, $XDG_CONFIG_HOME/mfo/sites."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "mfo" / "sites"


def _files() -> dict[str, Path]:
    # The user's own profile wins over the kit's of the same name.
    return {p.stem: p for folder in (SITES, user_sites()) for p in sorted(folder.glob("*.toml"))}


def known_sites() -> list[str]:
    """Names of the kit's profiles and the user's own."""
    return sorted(_files())


def profile_path(name: str) -> Path:
    """The file of a profile.

    Raises:
        KitError: unknown site, with the nearest names.
    """
    files = _files()
    if name not in files:
        raise KitError(
            f"there is no site {name!r}; {nearest(name, files)}",
            where=f"{SITES} and {user_sites()}",
            fix="choose one of the sites above, or write your own TOML file in the second folder",
        )
    return files[name]


def load(name: str) -> Site:
    """Read a site profile.

    Raises:
        KitError: unknown site (with the nearest names), unknown key, or a value of a wrong type.
    """
    file = profile_path(name)
    return _site(name, _inherited(name, file, ()), file)


def _inherited(name: str, file: Path, below: tuple[str, ...]) -> dict[str, Any]:
    if name in below:
        raise KitError(f"site {name} extends itself", where=" -> ".join((*below, name)))
    own = read_toml(file, f"site {name}")
    above = own.pop("extends", None)
    if above is None:
        return own
    return merge(_inherited(str(above), profile_path(str(above)), (*below, name)), own)


def _site(name: str, data: dict[str, Any], where: Path) -> Site:
    from kit import schema  # msgspec's weight: `mfo status` needs the class alone

    schema.convert({"title": name, **data}, profile(), where=str(where), what=f"site {name}")
    for table, known in NAMED.items():
        for key in data.get(table, {}):
            if key not in known:
                raise KitError(
                    f"unknown key {table}.{key}; {nearest(key, known)}", where=str(where)
                )
    for key in data.get("environment", {}):
        if key.upper().endswith(_SECRET):
            raise KitError(
                f"environment.{key} looks like a secret: a site is written into every run",
                where=str(where),
                fix=f"export {key}=… in your shell; jobs get it from there, and it is kept nowhere",
            )
    return Site(**{"name": name, "title": name, **data})


@functools.cache
def profile() -> type[Any]:
    """Give the type of a profile's file, resolved: a site without its name."""
    from kit import schema  # msgspec's weight

    return schema.closed(Site, without=("name",))


def who(site: Site) -> dict[str, str]:
    """Account, partition and quality of service for sbatch, from the environment.

    Raises:
        KitError: the site wants an account and none is set.
    """
    out = {
        "account": os.environ.get(site.account_env, ""),
        "partition": os.environ.get(site.partition_env, "") or site.partition,
        "qos": os.environ.get(site.qos_env, ""),
    }
    if site.account_required and not out["account"]:
        raise KitError(
            f"{site.title} charges an account, and none is given",
            where=f"the environment variable {site.account_env}",
            fix=f"export {site.account_env}=YOUR_PROJECT (your site's own tool lists them; where "
            "there is accounting, `sacctmgr show associations user=$USER` does)",
        )
    return {k: v for k, v in out.items() if v}


def minutes(site: Site, stage: str) -> int:
    """The time limit of a stage's job."""
    return site.time_min.get(stage, DEFAULT_MIN[stage])
