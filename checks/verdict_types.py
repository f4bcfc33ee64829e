"""What verdict.json holds, as types: its writers build them, and its schema is generated from them.

Scores and intervals are in per cent, differences, margins and standard errors in points; what a
judge's grades or rulings come to (`Rubric`, `Preferences`) is in shares of 1. The order of the
fields is the order in the file. `python -m checks.verdict_schema` writes the schema anew.

In an annotation a text is the schema's description, and a pair is another keyword of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypedDict

Outcome = Literal["reproduced", "not reproduced", "inconclusive", "invalid"]
Tier = Literal["weights", "retrain"]
Count = Annotated[int, ("minimum", 0)]
Text = Annotated[str, ("minLength", 1)]
#: Both ends.
Interval = Annotated[list[float], ("minItems", 2), ("maxItems", 2)]
Quantiles = Annotated[list[float], ("minItems", 5), ("maxItems", 5)]


# --- one benchmark ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A score as measured, without a verdict."""

    observed: float | None = None
    k: int | None = None
    n: Count
    evaluations: Count
    unparsed: Count
    interval: Interval | None = None
    interval_method: str = ""
    standard_error: float | None = None


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """How far the scores of several trainings lie apart."""

    scores: Annotated[dict[str, float], "training seed -> per cent"]
    spread: Annotated[float, "standard deviation between seeds, points"]
    interval: Annotated[Interval, "where one further seed falls, 95%, per cent"]
    needed: Annotated[int | None, "set where inconclusive and some number of seeds decides"] = None


class TagScore(TypedDict):
    """A theme's or an axis' score."""

    n: int
    mean: float
    interval: Interval
    standard_error: float


class Rubric(TypedDict):
    """What the grades of a rubric come to (:mod:`checks.rubric`)."""

    kind: Literal["rubric"]
    protocol: Literal["published", "strict"]
    score: float
    bootstrap_error: float
    unread: int
    grades: int
    retried: int
    reach: Interval
    hanging: float
    cut: int
    speaking_to_judge: int
    by_tag: dict[str, TagScore]
    too_long: int


class Shares(TypedDict):
    """Of vignettes, both orders together."""

    win: float
    tie: float
    loss: float


class PositionBias(TypedDict):
    """What being shown first is worth."""

    size: float
    interval: Interval | None
    biased: bool
    towards: Literal["first", "second", "neither"]
    pairs: int
    both_orders: bool


class CriterionScores(TypedDict):
    """Mean Likert scores of one criterion, 1 to 5."""

    ours: float
    theirs: float
    difference: float
    interval: Interval
    n: int


class RaterKappa(TypedDict):
    """One person against the panel of the others."""

    rater: str
    n: int
    kappa: float


class JudgeKappa(TypedDict):
    """The judge against the whole panel."""

    n: int
    agree: float
    kappa: float
    interval: Interval | None


class AmongRaters(TypedDict):
    """Where the judge's kappa lies in the distribution of the raters'."""

    raters: list[RaterKappa]
    mean: float | None
    sd: float | None
    quantiles: Quantiles | None
    judge: JudgeKappa | None
    z: float | None
    above: float | None
    within: bool | None


class AsRater(TypedDict):
    """The judge taken as one of the raters."""

    with_ties: AmongRaters
    without_ties: AmongRaters


class Agreement(TypedDict):
    """How the judge agrees with people (:mod:`checks.rater_agreement`)."""

    n: int
    votes: int
    raters: int
    agree: float
    kappa: float | None
    interval: Interval | None
    as_rater: AsRater | None


class Preferences(TypedDict):
    """What the rulings of a judge come to (:mod:`checks.preferences`)."""

    kind: Literal["pairs"]
    protocol: Literal["published", "strict"]
    order: Literal["both", "random"]
    vignettes: int
    rulings: int
    unread: int
    retried: int
    win: float
    tie: float
    loss: float
    preferred: float
    by_vignette: Shares
    consistent: float | None
    position_bias: PositionBias
    criteria: dict[str, CriterionScores]
    too_long: int
    agreement: Agreement | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One benchmark's verdict; built in one place, :func:`checks.row_verdict.judge_benchmark`."""

    benchmark: str
    title: str
    metric: Literal["accuracy", "mean"]
    verdict: Outcome
    reason: Text
    observed: Annotated[float | None, "per cent"]
    k: Annotated[int | None, "right answers; null for rubric scores and repeats"]
    n: Annotated[Count, "distinct items scored"]
    evaluations: Annotated[Count, "scored rows: n times repeats"]
    unparsed: Annotated[Count, "no answer or grade could be read; each scores 0"]
    interval: Annotated[Interval | None, "95%, per cent"]
    interval_method: str
    standard_error: Annotated[float | None, "points"]
    missing: Annotated[Count, "items that should have been scored"]
    items_published: int | None
    planned: dict[str, Any]
    published: float | None
    published_pm: Annotated[float | None, "the published ±"]
    published_seeds: list[float]
    decimals: Count
    chance: Annotated[float | None, "per cent that guessing scores"]
    difference: Annotated[float | None, "observed less published, points"]
    margin: Annotated[float | None, "points"]
    margin_why: str
    items_needed: Annotated[int | None, "set where inconclusive and some number decides"]
    seeds: Annotated[Seeds | None, "null for a single training seed"]
    before: Annotated[Observation | None, "the untrained model, without a verdict"]
    judged: Annotated[
        Rubric | Preferences | None,
        "what a judge's work came to, in shares of 1; null where no judge decided",
    ]


# --- beside the benchmarks ----------------------------------------------------------------------


class TableSource(TypedDict):
    """Which published table was compared with."""

    name: str
    source: str
    sha256: str


class AverageScore(TypedDict):
    """A published average whose benchmarks were all scored: shown, never judged."""

    name: str
    over: list[str]
    observed: float
    published: float
    published_pm: float | None


class EvaluationDrift(TypedDict):
    """The released weights in this harness against the published score."""

    verdict: Outcome
    reason: str
    observed: float | None
    n: int
    published: float | None
    difference: float | None
    margin: float | None


class TrainingDrift(TypedDict):
    """The retrained weights against the released ones, item by item."""

    items: int
    unpaired: int
    difference: float
    interval: Interval
    ours_only: int | None
    reference_only: int | None
    p_value: float
    p_equivalent: float | None
    margin: float | None
    method: str
    p_adjusted: float
    verdict: Literal["equivalent", "different", "undecided"]
    reason: str


class Drift(TypedDict):
    """One benchmark's difference, split (:mod:`checks.triangle`)."""

    benchmark: str
    title: str
    evaluation: EvaluationDrift
    training: TrainingDrift | None


class Variant(TypedDict):
    """The same responses, read by one rule."""

    name: str
    about: str
    items: Count
    right: float
    score: float
    unparsed: Count
    gained: Count
    lost: Count
    difference: float


class Readings(TypedDict):
    """A benchmark's responses by every rule (:mod:`checks.sensitivity`)."""

    benchmark: str
    title: str
    variants: list[Variant]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict of the reproduction kit.

    Scores are in per cent, differences, margins and standard errors in points.
    """

    schema: Literal[1] = 1
    verdict: Outcome
    exit_code: Annotated[
        Literal[0, 1, 2, 3], "0 reproduced, 1 not reproduced, 2 invalid, 3 inconclusive"
    ]
    headline: str
    tier: Tier
    model: str
    base: str | None
    table: TableSource
    benchmarks: Annotated[list[Row], ("minItems", 1)]
    averages: list[AverageScore]
    triangle: Annotated[
        list[Drift], "published, released, retrained: only where reference items were given"
    ]
    sensitivity: Annotated[
        list[Readings], "the same responses read by other rules; shown, never judged"
    ] = field(default_factory=list)
    notes: list[str]
    next: list[str]
    loss: list[Mapping[str, Any]]
    provenance: dict[str, Any]
