"""One description of a container, and how each runtime is asked for it.

Two ways exist. Container Engine (CSCS) and Pyxis are plugins of srun: the container is an argument,
and the command inside is `python`. Apptainer and podman-hpc are commands that stand before it.
In every case the image holds Python with submitit and the frameworks; the kit itself is mounted.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.errors import KitError
from launch.run.recipe import ROOT
from launch.run.site import expand

if TYPE_CHECKING:
    from launch.run.site import Site

EDF_NAME = "environment.toml"


@dataclass(frozen=True)
class Container:
    """What a stage runs in.

    Attributes:
        runtime: one of launch.run.site.Runtime.
        image: a file (.sqsh, .sif) or the name of an image.
        mounts: "SRC:DST[:FLAGS]".
        workdir: working directory inside.
        gpus: whether the container needs the GPUs.
        python: interpreter inside; "" means the one that runs this, for runtime "none".
        environment: variables that a Container Engine file sets; the job script exports the same
            ones for the other runtimes, which pass the job's environment on.
        edf: further keys of a Container Engine file.
    """

    runtime: str
    image: str = ""
    mounts: tuple[str, ...] = ()
    workdir: str = ""
    gpus: bool = False
    python: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    edf: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Start:
    """How a container is started: srun's arguments, what stands for `python`, files to write."""

    srun: tuple[str, ...] = ()
    python: str = "python"
    files: dict[Path, str] = field(default_factory=dict)


def describe(
    site: Site, role: str, folder: Path, extra: Iterable[Path], *, gpus: bool = True,
    environment: Mapping[str, str] | None = None,
) -> Container:  # fmt: skip
    """Describe the container of a stage.

    Args:
        site: where it runs.
        role: "train" or "eval", a key of the site's images.
        folder: the run's folder, always mounted, as are the kit and the cache.
        extra: further folders and files that the stage reads.
        gpus: whether the stage computes on the site's GPUs.
        environment: of the stage; None: the site's own alone.
    """
    given = site.environment if environment is None else environment
    wanted = [ROOT, site.cache_path, *extra, folder]
    mounts = [expand(m) for m in site.mounts]
    mounts += [f"{p}:{p}" for p in _outermost(wanted) if not _inside(p, mounts)]
    return Container(
        site.runtime, expand(site.images.get(role, "")), tuple(mounts), str(folder),
        gpus and site.gpus_per_node > 0, site.python, dict(given), dict(site.edf),
    )  # fmt: skip


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Drop what lies inside another one: a mount brings its whole tree."""
    unique = list(dict.fromkeys(paths))
    return [p for p in unique if not any(q != p and q in p.parents for q in unique)]


def _inside(path: Path, mounts: list[str]) -> bool:
    sources = [Path(m.split(":")[0]) for m in mounts]
    return any(s == path or s in path.parents for s in sources)


def start(box: Container, folder: Path) -> Start:
    """Say how a container is started.

    Args:
        box: what to start.
        folder: the stage's folder, for files that the runtime reads.

    Raises:
        KitError: a runtime that needs an image has none.
    """
    if box.runtime == "none":
        return Start(python=shlex.quote(box.python or sys.executable))
    if not box.image:
        raise KitError(
            f"the site's runtime is {box.runtime!r}, but it names no image",
            fix="set images.train and images.eval in your own profile of the site",
        )
    return _STARTERS[box.runtime](box, folder)


def _container_engine(box: Container, folder: Path) -> Start:
    import tomli_w

    own = {k: v for k, v in box.edf.items() if k not in ("annotations", "env")}
    edf: dict[str, Any] = {
        "image": box.image, "mounts": list(box.mounts), "workdir": box.workdir, **own,
        "env": {**box.environment, **box.edf.get("env", {})},
        "annotations": box.edf.get("annotations", {}),
    }  # fmt: skip
    file = folder / EDF_NAME
    # The option belongs to srun: as #SBATCH the batch script itself would run inside, and there is
    # no scontrol inside to requeue with.
    return Start(
        (f"--environment={file}",), box.python or "python", {file: tomli_w.dumps(edf)}
    )  # fmt: skip


def _pyxis(box: Container, folder: Path) -> Start:  # noqa: ARG001
    return Start(
        (
            f"--container-image={box.image}",
            f"--container-mounts={','.join(box.mounts)}",
            f"--container-workdir={box.workdir}",
            "--no-container-mount-home",
        ),
        box.python or "python",
    )


def _apptainer(box: Container, folder: Path) -> Start:  # noqa: ARG001
    # Without --cleanenv: it would drop SLURM_* and SUBMITIT_EXECUTOR, which the job is found by.
    words = ["apptainer", "exec", "--no-home", *(["--nv"] if box.gpus else [])]
    words += [f"--bind={m}" for m in box.mounts]
    words += [f"--pwd={box.workdir}", box.image, box.python or "python"]
    return Start(python=shlex.join(words))


def _podman_hpc(box: Container, folder: Path) -> Start:  # noqa: ARG001
    # --env-host hands the job's environment on by itself: no value, so no secret, is in the script.
    words = ["podman-hpc", "run", "--rm", "--env-host", "--network=host", "--ipc=host"]
    words += ["--gpu"] if box.gpus else []
    words += [f"--volume={m}" for m in box.mounts]
    words += [f"--workdir={box.workdir}", box.image, box.python or "python"]
    return Start(python=shlex.join(words))


_STARTERS = {
    "container-engine": _container_engine,
    "pyxis": _pyxis,
    "apptainer": _apptainer,
    "podman-hpc": _podman_hpc,
}


def missing_image(box: Container) -> str | None:
    """Say what is wrong with an image as seen from here; None where nothing is."""
    if box.runtime == "none":
        return None
    if "$" in box.image:
        return f"{box.image} holds a variable that is not set"
    is_file = box.image.startswith(("/", ".")) or box.image.endswith((".sqsh", ".sif"))
    return f"{box.image} is not there" if is_file and not Path(box.image).exists() else None
