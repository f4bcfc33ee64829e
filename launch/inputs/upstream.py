"""Upstream's own files (task files, prompts, graders): fetched at a commit, never held here.

recipes/upstream.toml pins them; `mfo fetch RECIPE` brings them. To read one:

    pinned_file(site, "harness", "lm_eval/tasks/medbench_task/medqa_g.yaml")  -> verified path
    pinned_folder(site, "harness", "lm_eval/tasks/medbench_task")             -> verified folder
    task_files(site, tasks="upstream")               -> a set of task files, as bytes

The sha256 is checked at every call: what was changed since is refused, not read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

from corpus.store import Repo, Store, check_path
from kit.errors import KitError, nearest
from kit.files import read_toml
from kit.schema import Commit, Meta, Sha256, Table, convert
from launch.run.recipe import RECIPES
from launch.run.site import Site

PINS = RECIPES / "upstream.toml"
#: Where each set of task files is pinned: value of eval.tasks -> table of upstream.toml.
TASK_PINS = {"upstream": "harness", "upstream-2026-07": "harness-2026-07"}
#: Where the harness's repository keeps the task files.
TASKS = "lm_eval/tasks/medbench_task"


class _Table(Table):
    repo: Annotated[str, Meta(pattern="^[^/]+/[^/]+$", description="OWNER/NAME on GitHub")]
    commit: Commit
    sha256: Annotated[dict[str, Sha256], Meta(min_length=1)]


@dataclass(frozen=True)
class Pins:
    """The pinned files of one repository.

    Attributes:
        name: of the table in upstream.toml.
        repository: "OWNER/NAME" on GitHub.
        commit: 40 hexadecimal digits.
        sha256: of the raw file, by its path in the repository.
    """

    name: str
    repository: str
    commit: str
    sha256: dict[str, str]

    def folder(self, cache: Path) -> Path:
        """Where the files lie in a cache, under their paths in the repository."""
        return Store(cache).snapshot(Repo("github", self.repository), self.commit)


def load_pins(file: Path | None = None) -> dict[str, Pins]:
    """Read upstream.toml: the pins by the names of its tables.

    Raises:
        KitError: a broken file, a table without repository, commit or files, or a path that leads
            out of its repository.
    """
    file, what = file or PINS, "the list of pinned files"
    out = {}
    for name, table in convert(
        read_toml(file, what), dict[str, _Table], where=str(file), what=what
    ).items():
        try:
            Repo("github", table.repo)
            paths = {check_path(path): sha256 for path, sha256 in table.sha256.items()}
        except KitError as error:
            raise KitError(error.what, where=f"{file}, [{name}]") from None
        out[name] = Pins(name, table.repo, table.commit, paths)
    return out


def pinned_file(site: Site, name: str, path: str, *, pins: Path | None = None) -> Path:
    """Give the path of a pinned upstream file whose sha256 has just been checked.

    Args:
        site: in whose cache it lies.
        name: table of upstream.toml: "meditron", "harness", "simple_evals".
        path: the file's path in that repository.
        pins: another list of pins than recipes/upstream.toml.

    Raises:
        KitError: nothing is pinned under that name, it was not fetched (the next command is
            `mfo fetch`), or its bytes are not those that were pinned.
    """
    known = _named(name, pins)
    if path not in known.sha256:
        raise KitError(
            f"{path!r} of {known.repository} is not pinned; {nearest(path, known.sha256)}",
            where=str(pins or PINS),
            cause="the kit reads no file whose sha256 is not written down",
        )
    return _verified(known, path, site)[0]


def pinned_folder(site: Site, name: str, below: str = "", *, pins: Path | None = None) -> Path:
    """Give a folder of pinned files, each checked as by `pinned_file`.

    Args:
        site: in whose cache it lies.
        name: table of upstream.toml.
        below: a folder of the repository; "" is all of what is pinned of it. Files that are not
            pinned may lie there as well and are not checked.
        pins: another list of pins.

    Raises:
        KitError: as `pinned_file`, or nothing is pinned below that folder.
    """
    known = _named(name, pins)
    inside = [p for p in known.sha256 if not below or PurePosixPath(p).is_relative_to(below)]
    if not inside:
        raise KitError(f"nothing below {below!r} of {known.repository} is pinned",
                       where=str(pins or PINS))  # fmt: skip
    for path in inside:
        _verified(known, path, site)
    return known.folder(site.cache_path) / below


def task_pins(tasks: str, *, pins: Path | None = None) -> Pins:
    """Give the pins of a set of task files, by the value of eval.tasks.

    Raises:
        KitError: nothing is pinned for it.
    """
    return _named(TASK_PINS[tasks], pins)


def task_files(
    site: Site, tasks: str = "upstream", *, recipe: str = "RECIPE", pins: Path | None = None
) -> dict[str, bytes]:
    """Give upstream's multiple-choice task files by name, as the very bytes that were checked.

    Args:
        site: in whose cache they lie.
        tasks: which set, a key of TASK_PINS.
        recipe: that the next command names.
        pins: another list of pins.

    Raises:
        KitError: as `pinned_file`.
    """
    known = task_pins(tasks, pins=pins)
    inside = [p for p in known.sha256 if PurePosixPath(p).is_relative_to(TASKS)]
    if not inside:
        raise KitError(f"nothing below {TASKS!r} of {known.repository} is pinned",
                       where=str(pins or PINS))  # fmt: skip
    return {PurePosixPath(path).name: _verified(known, path, site, recipe)[1] for path in inside}


def _named(name: str, pins: Path | None) -> Pins:
    every = load_pins(pins)
    if name not in every:
        raise KitError(f"nothing is pinned under {name!r}; {nearest(name, every)}",
                       where=str(pins or PINS))  # fmt: skip
    return every[name]


def _verified(known: Pins, path: str, site: Site, recipe: str = "RECIPE") -> tuple[Path, bytes]:
    place = known.folder(site.cache_path) / path
    try:
        data = place.read_bytes()
    except OSError as error:
        raise KitError(
            f"upstream's file {path} cannot be read: {error.strerror}",
            where=str(place),
            cause="the pinned files have not been fetched to this cache",
            fix=f"on a machine with a network: mfo fetch {recipe} --site {site.name}",
        ) from None
    found = hashlib.sha256(data).hexdigest()
    if found != known.sha256[path]:
        raise KitError(
            f"upstream's file {path} is not the one that was pinned, and is not used",
            where=str(place),
            cause=f"its sha256 is {found}, pinned is {known.sha256[path]}; it was changed since",
            fix=f"mfo fetch {recipe} --site {site.name} keeps it aside and fetches it again",
        )
    return place, data
