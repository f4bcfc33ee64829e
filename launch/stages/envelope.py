"""Where a recipe's loss may be: training that leaves it is stopped, before it costs more.

    [envelope]
    rise = 1.5                  # times the loss at the beginning
    ceilings = [[200, 1.8]]     # from step 200 on, at most 1.8
    window = 8                  # steps whose median is looked at

A single bad batch is not a run that goes wrong, so medians are compared, never one step's loss.
Standard library only: it runs inside each training rank, after every logged step.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from launch.errors import KitError

VARIABLE = "MFO_ENVELOPE"


@dataclass(frozen=True)
class Envelope:
    """The recipe's table.

    Attributes:
        rise: the median loss of the last steps over that of the first; 0: not looked at.
        ceilings: pairs (step, loss): from that step on the median is at most this.
        window: steps of a median.
    """

    rise: float = 0.0
    ceilings: tuple[tuple[int, float], ...] = ()
    window: int = 8


def parse(table: Mapping[str, Any], where: str = "envelope") -> Envelope:
    """Check the recipe's table.

    Raises:
        KitError: a value that no loss can be held against.
    """
    rise, window = float(table.get("rise", 0.0)), int(table.get("window", 8))
    if rise and not (math.isfinite(rise) and rise > 1):
        raise KitError(f"envelope.rise is {rise}; it is a factor above 1, or 0 for none",
                       where=where)  # fmt: skip
    if window < 1:
        raise KitError(f"envelope.window is {window}; it is a number of steps", where=where)
    ceilings = []
    for pair in table.get("ceilings", []):
        good = isinstance(pair, (list, tuple)) and len(pair) == 2
        numbers = good and all(isinstance(v, (int, float)) and v > 0 for v in pair)
        if not numbers or not math.isfinite(pair[1]):
            raise KitError(f"envelope.ceilings holds {pair!r}; it takes pairs [step, loss]",
                           where=where, fix="ceilings = [[200, 1.8]]")  # fmt: skip
        ceilings.append((int(pair[0]), float(pair[1])))
    return Envelope(rise, tuple(sorted(ceilings)), window)


class Guard:
    """Holds each logged loss against the envelope.

    Args:
        envelope: the recipe's.
        before: (step, loss) of earlier attempts, so that a resumed run keeps its beginning.
    """

    def __init__(self, envelope: Envelope, before: Iterable[tuple[int, float]] = ()) -> None:
        self.envelope = envelope
        self.first: list[float] = []
        self.last: deque[float] = deque(maxlen=envelope.window)
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
        if len(self.last) < box.window:
            return None
        now = median(self.last)
        bound = min((top for begins, top in box.ceilings if step >= begins), default=math.inf)
        if now > bound:
            return f"the median loss of the last {box.window} steps is {now:.4g}, above {bound:.4g}"
        if box.rise and len(self.first) == box.window and step > 2 * box.window:
            began = median(self.first)
            if now > box.rise * began:
                return (f"the median loss of the last {box.window} steps is {now:.4g}, "
                        f"{now / began:.2g} times the {began:.4g} of the first")  # fmt: skip
        return None
