"""When to save: from the job's time limit and the measured times of a step and of a checkpoint.

A checkpoint is due when so much has been done since the last one that losing it would hurt more
than saving: a twelfth of the time limit, but never so often that saving takes more than a twentieth
of the time. The recipe's own `save_steps` goes on beside this. Saving does not touch the weights'
bits, so runs on different sites stay comparable.
"""

from __future__ import annotations

from dataclasses import dataclass, field

VARIABLE = "MFO_LIMIT_S"
#: Share of the time limit that may be lost at most, and share of the time that saving may take.
LOSS, COST = 1 / 12, 1 / 20
#: Steps whose time is believed: the first ones compile and fill caches.
WARM = 3


@dataclass
class Pace:
    """One attempt's measured times; seconds throughout.

    Args:
        limit_s: the job's time limit.
    """

    limit_s: float
    step_s: float = 0.0
    save_s: float = 0.0
    saved_at: float | None = None
    _last: float | None = field(default=None, repr=False)
    _seen: int = field(default=0, repr=False)

    @property
    def every_s(self) -> float:
        """Time between two checkpoints."""
        return max(self.limit_s * LOSS, self.save_s / COST)

    def step(self, now: float) -> bool:
        """Note the end of a step; gives whether a checkpoint is due before the next one ends."""
        if self.saved_at is None:
            self.saved_at = now
        if self._last is not None:
            self._seen += 1
            took = now - self._last
            # A running mean that forgets: a slow file system or a busy node comes and goes.
            known = self._seen > WARM and self.step_s > 0
            self.step_s = 0.8 * self.step_s + 0.2 * took if known else took
        self._last = now
        return self._seen >= WARM and now - self.saved_at + self.step_s > self.every_s

    def saved(self, now: float) -> None:
        """Note that a checkpoint is on disk; the time since the step's end was spent on it."""
        if self._last is not None:
            self.save_s = max(now - self._last, 0.5 * self.save_s)
        self.saved_at = self._last = now

    def steps(self) -> int:
        """Steps between two checkpoints at today's pace; 0 while unknown."""
        return max(1, int(self.every_s / self.step_s)) if self.step_s else 0

    def words(self) -> str:
        """Say it with its reason."""
        why = ("a twelfth of the time limit" if self.every_s <= self.limit_s * LOSS
               else "saving more often would cost over 5% of the time")  # fmt: skip
        return (f"checkpoints: a step takes {self.step_s:.3g} s, saving {self.save_s:.3g} s; "
                f"one every {self.every_s:.0f} s, about {self.steps()} steps ({why})")  # fmt: skip
