"""A run on disk: one folder, everything that decides its result frozen in run.toml.

runs/<recipe>-<site>-<time>/
  run.toml     recipe, site, settings, versions, the reasons for what the program decided
  <stage>/     inputs.json, log, outputs.json, status
  items/       one JSON Lines file a benchmark
  verdict.json, report/index.html
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from kit.errors import KitError, nearest
from kit.files import read_json, read_toml, sha256_file, without_none, write_json, write_text
from kit.process import is_alive, start_time
from launch.run import image
from launch.run.recipe import ROOT, Recipe
from launch.run.site import Site

#: Raised when a run folder of an older kit can no longer be read.
FORMAT = 1
#: Versions that a run depends on, kept in run.toml.
PACKAGES = ("torch", "transformers", "axolotl", "accelerate", "datasets", "lm_eval", "submitit",
            "tokenizers", "safetensors", "numpy", "wandb", "vllm")  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One run folder.

    Attributes:
        path: the folder.
        spec: run.toml as it was frozen.
    """

    path: Path
    spec: dict[str, Any]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def recipe(self) -> Recipe:
        """The recipe as it was resolved when the run was created."""
        r = self.spec["recipe"]
        return Recipe(r["name"], r["data"], tuple(r["lineage"]), r.get("settings", {}))

    @property
    def site(self) -> Site:
        """The site as it was when the run was created."""
        return Site(**self.spec["site"])

    @property
    def stages(self) -> list[str]:
        """Names of this run's stages, in order."""
        return list(self.spec["stages"])

    def python(self, stage: str) -> str:
        """The interpreter of a stage; "": the one that runs mfo, or its container's."""
        return str(self.spec.get("interpreters", {}).get(stage, {}).get("python", ""))

    def packages(self, stage: str) -> dict[str, str]:
        """Versions of the packages that a stage runs with; in an image without evidence, none."""
        own = self.images.get(image.ROLES[stage], {})
        if own and own["sha256"] != image.NOT_RECORDED:
            return dict(own["packages"])
        own = self.spec.get("interpreters", {}).get(stage, {})
        return dict(own.get("packages") or self.spec["packages"])

    @property
    def images(self) -> dict[str, Any]:
        """The container images by role, as `launch.run.image.describe` froze them."""
        if "images" not in self.spec and self.site.runtime != "none":
            return image.not_recorded(self.site)  # a run folder of an older kit
        found = self.spec.get("images")
        return dict(found) if isinstance(found, dict) else {}

    def folder(self, stage: str) -> Path:
        """The folder of one stage."""
        return self.path / stage

    @property
    def items(self) -> Path:
        """Folder of the scored items."""
        return self.path / "items"

    def items_of(self, model: str) -> Path:
        """Folder of a model's scored items: "trained", which is judged, or another."""
        return self.items if model == "trained" else self.folder("evaluate") / model

    @property
    def verdict(self) -> Path:
        """The machine-readable verdict."""
        return self.path / "verdict.json"

    @property
    def report(self) -> Path:
        """The page."""
        return self.path / "report" / "index.html"

    # --- what a stage leaves behind -------------------------------------------------------------
    def status(self, stage: str) -> dict[str, Any]:
        """Give {"state": waiting | running | finished | failed | interrupted, …}."""
        found = read_json(self.folder(stage) / "status")
        if found is None:
            return {"state": "waiting"}
        if found.get("state") == "running" and not _alive(found):
            return {**found, "state": "interrupted", "message": "its process is gone"}
        return found

    def set_status(self, stage: str, state: str, **more: object) -> None:
        """Write a stage's status, whole or not at all."""
        started = read_json(self.folder(stage) / "status") or {}
        since = time.time() if state == "running" else started.get("since", time.time())
        value = {"state": state, "since": since, "updated": time.time(), "pid": os.getpid(),
                 "begun": start_time(os.getpid()), "host": platform.node(), **more}  # fmt: skip
        write_json(self.folder(stage) / "status", value)

    def whole(self, stage: str, inputs: Mapping[str, object]) -> bool:
        """Whether a stage's outputs are there, untouched, and made from these inputs."""
        folder = self.folder(stage)
        outputs = read_json(folder / "outputs.json")
        if outputs is None or read_json(folder / "inputs.json") != inputs:
            return False
        return all(_unchanged(self.path / name, seen) for name, seen in outputs["files"].items())

    def seal(self, stage: str, files: Mapping[Path, str | None], **facts: object) -> None:
        """Write outputs.json, the mark of a finished stage.

        Args:
            stage: whose outputs they are.
            files: every output with its sha256 where the stage knows it already, else None.
            **facts: what later stages want to know, for example a digest.
        """
        entries = {}
        for path, known in sorted(files.items()):
            stat = path.stat()
            entries[str(path.relative_to(self.path))] = {
                "size": stat.st_size,
                "mtime_ns": stat.st_mtime_ns,
                "sha256": known or sha256_file(path),
            }
        write_json(self.folder(stage) / "outputs.json", {**facts, "files": entries})

    def facts(self, stage: str) -> dict[str, Any]:
        """What a finished stage said in outputs.json; empty where it is not finished."""
        return read_json(self.folder(stage) / "outputs.json") or {}


def _unchanged(path: Path, seen: Mapping[str, Any]) -> bool:
    try:
        stat = path.stat()
    except OSError:
        return False
    if stat.st_size != seen["size"]:
        return False
    # As git's index does: the same size and time is the same file; another time is looked into.
    return stat.st_mtime_ns == seen["mtime_ns"] or bool(sha256_file(path) == seen["sha256"])


def _alive(status: Mapping[str, Any]) -> bool:
    if status.get("host") != platform.node():
        return True  # another machine's process: not for us to say
    return is_alive(int(status["pid"]), status.get("begun"))


def versions() -> dict[str, str]:
    """Versions of the installed packages that a run depends on."""
    out = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            out[name] = metadata.version(name)
    return out


def interpreters(recipe: Recipe, site: Site, stages: list[str]) -> dict[str, Any]:
    """Give the interpreter of each stage that has one of its own, and what is installed there."""
    from launch.run import interpreter

    out = {}
    for stage in stages:
        # Where there is none, `choices.decide` has refused the run; a dry run shows the rest.
        with contextlib.suppress(KitError):
            if python := interpreter.of(recipe, site, stage):
                out[stage] = {
                    "python": python,
                    "packages": interpreter.versions(python, PACKAGES),
                }
    return out


def kit_state() -> dict[str, Any]:
    """The kit's own version and git commit, with whether files were changed since."""
    import subprocess

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        version = metadata.version("mfo-kit")
    except metadata.PackageNotFoundError:  # mounted into an image, not installed there
        import tomllib

        text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        version = tomllib.loads(text)["project"]["version"]
    out: dict[str, Any] = {"version": version}
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        out["commit"] = git("rev-parse", "HEAD")
        out["changed_files"] = len(git("status", "--porcelain", "-uno").splitlines())
    return out


def create(recipe: Recipe, site: Site, stages: list[str], decisions: list[str], runs: Path) -> Run:
    """Make the folder of a new run and freeze run.toml in it.

    Raises:
        KitError: the folder cannot be written.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    base = runs / f"{recipe.name}-{site.name}-{stamp}"
    spec = freeze(recipe, site, stages, decisions)
    try:
        runs.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, 100):
            path = base if attempt == 1 else base.with_name(f"{base.name}-{attempt}")
            with contextlib.suppress(FileExistsError):
                # Private: a run folder holds submitit's pickles, which are code.
                path.mkdir(mode=0o700)
                break
        import tomli_w

        write_text(path / "run.toml", tomli_w.dumps(spec))
        image.keep_evidence(Run(path, spec).images, path / "images")
    except OSError as error:
        raise KitError(
            f"the run folder cannot be written: {error.strerror}",
            where=str(base),
            cause="no permission, a read-only file system, or a full disk",
            fix="mfo run … --runs FOLDER with a folder that you can write to",
        ) from None
    return Run(path, spec)


def freeze(recipe: Recipe, site: Site, stages: list[str], decisions: list[str]) -> dict[str, Any]:
    """Give the content of run.toml."""
    images = image.describe(site, stages, PACKAGES)
    frozen: dict[str, Any] = without_none(
        {
            "format": FORMAT,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "stages": stages,
            "decisions": [*decisions, *image.lines(images)],
            "kit": kit_state(),
            "packages": versions(),
            "interpreters": interpreters(recipe, site, stages) or None,
            "images": images or image.NONE,
            "recipe": {
                "name": recipe.name,
                "lineage": list(recipe.lineage),
                "settings": recipe.settings,
                "data": recipe.data,
            },
            "site": asdict(site),
        }
    )
    return frozen


def find(name: str | None, runs: Path) -> Run:
    """Open a run by path or name; without one, the latest.

    Raises:
        KitError: no such run (with the nearest names), or a folder of another version.
    """
    here = sorted((p.parent for p in runs.glob("*/run.toml")), key=lambda p: p.stat().st_mtime)
    if name is None or name == "latest":
        if not here:
            raise KitError("there is no run yet", where=str(runs), fix="mfo run smoke")
        return open_run(here[-1])
    for path in (Path(name), runs / name):
        if (path / "run.toml").is_file():
            return open_run(path.resolve())
    known = [p.name for p in here]
    hint = nearest(name, known) if known else "there are no runs here"
    raise KitError(f"there is no run {name!r}; {hint}", where=str(runs), fix="mfo status")


def open_run(path: Path) -> Run:
    """Open a run folder.

    Raises:
        KitError: run.toml is broken, incomplete, or of another version of the kit.
    """
    spec = read_toml(path / "run.toml", "run.toml")
    if spec.get("format") != FORMAT:
        raise KitError(
            f"this run folder has format {spec.get('format')!r}, this kit reads {FORMAT}",
            where=str(path / "run.toml"),
            cause=f"it was made by kit {spec.get('kit', {}).get('version', 'of another version')}",
            fix="check out that version of the kit, or start a new run: mfo run RECIPE",
        )
    for key in ("recipe", "site", "stages"):
        if key not in spec:
            raise KitError(
                f"run.toml has no {key!r}", where=str(path), cause="it was cut or edited"
            )
    return Run(path, spec)


@contextlib.contextmanager
def held(run: Run) -> Iterator[None]:
    """Hold a run for this launcher alone.

    Raises:
        KitError: another launcher holds it, or others could have put code into it.
    """
    _check_owner(run.path)
    try:
        file = (run.path / ".lock").open("a")
    except OSError as error:
        raise KitError(
            f"the run folder cannot be written: {error.strerror}", where=str(run.path)
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise KitError(
                f"{run.name} is already being run by another mfo",
                where=str(run.path),
                fix=f"mfo status {run.name}",
            ) from None
        yield


def _check_owner(path: Path) -> None:
    """Refuse a folder whose pickles another user may have written: a pickle is code.

    Raises:
        KitError: another user owns the folder, or may write into it.
    """
    stat = path.stat()
    if stat.st_uid != os.geteuid():
        raise KitError(
            "this run folder belongs to another user", where=str(path),
            cause="running it would execute what that user put there",
            fix="start a run of your own: mfo run RECIPE",
        )  # fmt: skip
    if stat.st_mode & 0o022:
        raise KitError(
            "other users may write into this run folder", where=str(path),
            cause=f"its permissions are {stat.st_mode & 0o777:o}; mfo makes them 700",
            fix=f"if you trust what is in it: chmod 700 {path}",
        )  # fmt: skip
