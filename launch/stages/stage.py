"""What a stage is: typed inputs that decide its outputs, and the work that makes these from those.

`inputs` reads the run and gives a frozen dataclass; `execute` gets that and a `Context`, and not
the run. So what is not among a stage's inputs cannot be read by its work: a table of the recipe
that was not named raises (`Recipe.only`). A field of the inputs bears identity, or it is declared a
`place` (launch.run.identity). Nothing of the context bears identity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from launch.run.folder import Run
    from launch.run.recipe import Recipe
    from launch.run.site import Site

#: A stage's outputs, each with its sha256 where it is known already, and facts for later stages.
Outputs = tuple[dict[Path, str | None], dict[str, Any]]
Inputs = TypeVar("Inputs")


@dataclass(frozen=True)
class Context:
    """Where a stage works; two runs that differ in this alone have the same outputs.

    Attributes:
        name: of the run.
        run: the run's folder.
        folder: the stage's own.
        site: the machine.
    """

    name: str
    run: Path
    folder: Path
    site: Site

    def items_of(self, model: str) -> Path:
        """Folder of a model's scored items: "trained", which is judged, or another."""
        return self.run / "items" if model == "trained" else self.folder / model


def _nothing(*_: object) -> list[str]:
    return []


@dataclass(frozen=True)
class Stage(Generic[Inputs]):
    """One step of a run.

    Attributes:
        inputs: everything that decides the stage's outputs; the stages before it are finished when
            it is asked.
        execute: does the work in the stage's own process.
        says: what it does, for people.
        resumable: whether it goes on from what it left half done.
        needs: packages that its work imports.
        describe: what the program decides for the user, with the reasons; raises a KitError where
            the site cannot run it.
    """

    inputs: Callable[[Run], Inputs]
    execute: Callable[[Inputs, Context], Outputs]
    says: str
    resumable: bool = False
    needs: Callable[[Recipe], list[str]] = _nothing
    describe: Callable[[Recipe, Site], list[str]] = _nothing


def context(run: Run, stage: str) -> Context:
    """Give the context of one of a run's stages."""
    return Context(run.name, run.path, run.folder(stage), run.site)
