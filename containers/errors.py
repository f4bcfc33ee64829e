"""The one shape of an error in this room: what, where, likely cause, next command."""

from __future__ import annotations


class KitError(Exception):
    """An error that a user can act on.

    Args:
        what: what went wrong, in one sentence.
        where: the file (with a line number where there is one), flag or stage.
        cause: the likely cause.
        fix: the next command or edit.
        exit_code: 2 unless said otherwise (wrong usage or invalid input).
    """

    def __init__(
        self, what: str, *, where: str = "", cause: str = "", fix: str = "", exit_code: int = 2
    ) -> None:
        super().__init__(what)
        self.what, self.where, self.cause, self.fix = what, where, cause, fix
        self.exit_code = exit_code

    def __str__(self) -> str:
        """Give the error as it is printed, a line for each part that is known."""
        parts = [("", self.what), ("where: ", self.where), ("cause: ", self.cause)]
        parts.append(("next:  ", self.fix))
        return "\n".join(label + text for label, text in parts if text)

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the parts when a job hands the error back by pickle."""
        return (_rebuild, (type(self), self.what, self.where, self.cause, self.fix, self.exit_code))


def _rebuild(
    kind: type[KitError], what: str, where: str, cause: str, fix: str, code: int
) -> KitError:
    return kind(what, where=where, cause=cause, fix=fix, exit_code=code)
