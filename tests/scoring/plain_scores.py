"""Both scorings written a second time, plainly, from their published descriptions."""

from fractions import Fraction


def healthbench(rubrics: list[list[tuple[int, bool | None]]]) -> Fraction:
    """Give the mean over conversations of earned points over positive points; None is not met."""
    total = Fraction(0)
    for rubric in rubrics:
        earned, possible = 0, 0
        for points, met in rubric:
            if points > 0:
                possible = possible + points
            if met is True:
                earned = earned + points
        total = total + Fraction(earned, possible)
    return total / len(rubrics)


def moove(rulings: list[tuple[str | None, str | None]]) -> dict[str, Fraction]:
    """Rate (ruling with ours first, ruling with ours second), each "first", "second", "tie", None.

    Rates over rulings, and the mean over pairs of each pair's own share, ties counting half.
    """
    wins = ties = losses = 0
    shares = []
    for one, other in rulings:
        points = []
        for said, ours in ((one, "first"), (other, "second")):
            if said is None:
                continue
            if said == "tie":
                ties += 1
                points.append(Fraction(1, 2))
            elif said == ours:
                wins += 1
                points.append(Fraction(1))
            else:
                losses += 1
                points.append(Fraction(0))
        if points:
            shares.append(sum(points) / len(points))
    n = wins + ties + losses
    return {
        "win": Fraction(wins, n), "tie": Fraction(ties, n), "loss": Fraction(losses, n),
        "preferred": sum(shares) / len(shares),
    }  # fmt: skip
