"""Where a recipe's loss may be: training that leaves it is stopped, before it costs more.

    [envelope]
    rise = 1.5                  # times the loss at the beginning
    ceilings = [[200, 1.8]]     # from step 200 on, at most 1.8
    window = 8                  # steps whose median is looked at
    bands = "loss.json"         # where right runs lie at each step, measured (bench/loss_bands.py)

A band is narrower, so that a wrong run is stopped in its first minutes. It belongs to the rows that
it was measured on; on others it is not held, unless `--set envelope.bands=FILE` says so. Its file:

    {"window": 3, "corpus": "sha256 of train.jsonl", "made": "how", "seeds": [42, …],
     "steps": [[1, 2.1, 2.6], …]}    step, lowest and highest median of the last `window` losses

A single bad batch is not a run that goes wrong, so medians are compared, never one step's loss.
It runs inside each training rank, after every logged step.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

from kit.errors import KitError
from kit.schema import Amount, Meta, Positive, Table, convert
from launch.run.recipe_schema import Loss, Step

VARIABLE = "MFO_ENVELOPE"


@dataclass(frozen=True)
class Bands:
    """Where the losses of right runs lie.

    Attributes:
        steps: lowest and highest by step; steps that are not named are not held.
        window: steps of the median that they bound; fewer at a run's beginning.
        corpus: sha256 of the rows that they were measured on.
        seeds: of the runs that they were measured with.
    """

    steps: Mapping[int, tuple[float, float]]
    window: int
    corpus: str = ""
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Envelope:
    """The recipe's table.

    Attributes:
        rise: the median loss of the last steps over that of the first; 0: not looked at.
        ceilings: pairs (step, loss): from that step on the median is at most this.
        window: steps of a median.
        bands: where right runs lie; None where nobody measured that.
    """

    rise: float = 0.0
    ceilings: tuple[tuple[int, float], ...] = ()
    window: int = 8
    bands: Bands | None = None


_Low = Annotated[float, Meta(ge=0, lt=1e308, description="a loss")]


class BandsFile(Table):
    """A file of bands; `about` and `made` are for people."""

    steps: Annotated[list[tuple[Step, _Low, Loss]], Meta(min_length=1)]
    window: Positive
    corpus: str = ""
    seeds: tuple[int, ...] = ()
    about: str = ""
    made: str = ""


class _Box(Table):
    rise: Amount = 0.0
    ceilings: tuple[tuple[Step, Loss], ...] = ()
    window: Positive = 8
    bands: str | dict[str, Any] = ""


class _File(Table):
    envelope: _Box


def parse(table: Mapping[str, Any], where: str = "envelope") -> Envelope:
    """Check the recipe's table.

    Raises:
        KitError: a value that no loss can be held against.
    """
    box = convert({"envelope": table}, _File, where=where, what="the envelope").envelope
    if box.rise and not (math.isfinite(box.rise) and box.rise > 1):
        raise KitError(
            f"envelope.rise is {box.rise}; it is a factor above 1, or 0 for none", where=where
        )
    bands, given = None, box.bands
    if given:
        bands = read_bands(Path(given)) if isinstance(given, str) else parse_bands(given, where)
    return Envelope(box.rise, tuple(sorted(box.ceilings)), box.window, bands)


def read_bands(path: Path) -> Bands:
    """Read a file of bands.

    Raises:
        KitError: it is missing, or no such file.
    """
    return parse_bands(_load(path), str(path))


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise KitError(
            f"the loss bands cannot be read: {error}", where=str(path),
            fix="python -m bench.loss_bands makes them; without: --set envelope.bands=",
        ) from None  # fmt: skip


def parse_bands(given: object, where: str) -> Bands:
    """Check bands as they stand in their file.

    Raises:
        KitError: a key is missing, or a band is none.
    """
    fix = "see the head of launch/stages/envelope.py"
    found = convert(given, BandsFile, where=where, what="a file of loss bands", fix=fix)
    for step, low, high in found.steps:
        if not low < high:
            raise KitError(
                f"the loss band of step {step} goes from {low} to {high}, which is no higher",
                where=where,
                fix=fix,
            )
    steps = {step: (low, high) for step, low, high in found.steps}
    return Bands(steps, found.window, found.corpus, found.seeds)


def for_ranks(
    table: Mapping[str, Any], *, corpus: str | None, asked: bool
) -> tuple[dict[str, Any], str]:
    """Give the table with what its file holds, as training ranks get it, and what is said of it.

    Args:
        table: the recipe's.
        corpus: sha256 of the rows that will be trained on; None where that is not known yet.
        asked: whether the user named the bands, whatever the rows.
    """
    out = {k: v for k, v in table.items() if k != "bands"}
    if not table.get("bands"):
        return out, ""
    path = Path(str(table["bands"]))
    found = read_bands(path)
    if corpus is not None and found.corpus and found.corpus != corpus and not asked:
        said = f"loss bands: not held, they were measured on other rows ({path.name}); to hold them"
        return out, f"{said} all the same: --set envelope.bands={path}"
    return {**out, "bands": _load(path)}, f"loss bands: {words(found, path)}"


def words(bands: Bands, path: Path) -> str:
    """Say what bands are held, for people."""
    last = max(bands.steps)
    return (
        f"to step {last} training stops where its loss leaves the band of {len(bands.seeds)} "
        f"right runs ({path.parent.name}/{path.name}; median of {bands.window} steps)"
    )


class Guard:
    """Holds each logged loss against the envelope.

    Args:
        envelope: the recipe's.
        before: (step, loss) of earlier attempts, so that a resumed run keeps its beginning.
    """

    def __init__(self, envelope: Envelope, before: Iterable[tuple[int, float]] = ()) -> None:
        self.envelope = envelope
        self.first: list[float] = []
        most = max(envelope.window, envelope.bands.window if envelope.bands else 1)
        self.last: deque[float] = deque(maxlen=most)
        for step, loss in before:
            self._note(step, loss)

    def _note(self, step: int, loss: float) -> None:
        if len(self.first) < self.envelope.window and step <= 2 * self.envelope.window:
            self.first.append(loss)
        self.last.append(loss)

    def outside(self, step: int, loss: float) -> str | None:
        """Take one step's loss; say in words how the last steps left the envelope, else None."""
        self._note(step, loss)
        box = self.envelope
        if box.bands and (words := self._outside_band(box.bands, step)):
            return words
        if len(self.last) < box.window:
            return None
        now = self._median(box.window)
        bound = min((top for begins, top in box.ceilings if step >= begins), default=math.inf)
        if now > bound:
            return f"the median loss of the last {box.window} steps is {now:.4g}, above {bound:.4g}"
        if box.rise and len(self.first) == box.window and step > 2 * box.window:
            began = median(self.first)
            if now > box.rise * began:
                return (f"the median loss of the last {box.window} steps is {now:.4g}, "
                        f"{now / began:.2g} times the {began:.4g} of the first")  # fmt: skip
        return None

    def _median(self, window: int) -> float:
        return median(list(self.last)[-window:])

    def _outside_band(self, bands: Bands, step: int) -> str | None:
        if step not in bands.steps:
            return None
        low, high = bands.steps[step]
        now, count = self._median(bands.window), min(bands.window, len(self.last))
        if low <= now <= high:
            return None
        which = "loss" if count == 1 else f"median loss of the last {count} steps"
        return (
            f"the {which} is {now:.4g}; of right runs ({len(bands.seeds)} seeds) it lies between "
            f"{low:.4g} and {high:.4g} there"
        )
