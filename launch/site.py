"""A site: a place to run. Profiles are TOML files in launch/sites, or in the user's own folder."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch.errors import KitError, nearest
from launch.recipe import read_toml

SITES = Path(__file__).resolve().parent / "sites"


@dataclass(frozen=True)
class Site:
    """Where a run runs.

    Attributes:
        name: the file's stem.
        scheduler: "local"; Slurm sites come with their own profiles.
        nodes: nodes of the training stage.
        processes_per_node: training ranks on each node.
        gpus_per_node: 0 where the ranks run on the CPU.
        cache: base models and other things that outlive a run.
        environment: set for every stage.
    """

    name: str
    title: str
    scheduler: str = "local"
    nodes: int = 1
    processes_per_node: int = 2
    gpus_per_node: int = 0
    cache: str = "~/.cache/mfo"
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def world_size(self) -> int:
        """Number of training ranks over all nodes."""
        return self.nodes * self.processes_per_node

    @property
    def cache_path(self) -> Path:
        """The cache folder; MFO_CACHE in the environment wins."""
        return Path(os.environ.get("MFO_CACHE") or self.cache).expanduser().resolve()


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


def load(name: str) -> Site:
    """Read a site profile.

    Raises:
        KitError: unknown site (with the nearest names), unknown key, or a value of a wrong type.
    """
    files = _files()
    if name not in files:
        raise KitError(
            f"there is no site {name!r}; {nearest(name, files)}",
            where=f"{SITES} and {user_sites()}",
            fix="choose one of the sites above, or write your own TOML file in the second folder",
        )
    return _site(name, read_toml(files[name], f"site {name}"), files[name])


def _site(name: str, data: dict[str, Any], where: Path) -> Site:
    # A class attribute for every field but the required ones: their defaults say the type.
    kinds = {k: type(v.default) for k, v in Site.__dataclass_fields__.items() if k != "name"}
    kinds.update(title=str, environment=dict)
    for key, value in data.items():
        if key not in kinds:
            raise KitError(f"unknown key {key!r}; {nearest(key, kinds)}", where=str(where))
        if not isinstance(value, kinds[key]) or isinstance(value, bool):
            raise KitError(f"{key} takes {kinds[key].__name__}, not {value!r}", where=str(where))
    if data.get("scheduler", "local") != "local":
        raise KitError(
            f"site {name} asks for the scheduler {data['scheduler']!r}; this version runs 'local'",
            where=str(where),
        )
    return Site(name=name, **{"title": name, **data})
