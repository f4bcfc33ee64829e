"""What a judge's work came to, in words: for the terminal, the page and Markdown alike.

Reads the `judged` part of a verdict's benchmark (:mod:`checks.judge_statistics`), shares of 1;
says per cent and points.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["judged_lines"]


def judged_lines(row: Mapping[str, Any]) -> list[str]:
    """Say what stands behind a judged benchmark's score; nothing for other benchmarks.

    Args:
        row: a benchmark of verdict.json.
    """
    found = row.get("judged")
    if not found:
        return []
    return _rubric(found) if found["kind"] == "rubric" else _pairs(found)


def _rubric(found: Mapping[str, Any]) -> list[str]:
    lines = [
        f"By the published rule {100 * found['score']:.2f} ± {100 * found['bootstrap_error']:.2f} "
        f"(mean clipped to 0–100, bootstrap); {found['grades']:,} grades, protocol "
        f"{found['protocol']}."
    ]
    if found["unread"]:
        low, high = (100 * end for end in found["reach"])
        lines.append(
            f"{found['unread']:,} grades could not be read and count as not met, which helps where "
            f"points are negative: {100 * found['hanging']:.2f} points hang on them "
            f"({low:.2f} to {high:.2f})."
        )
    if found["retried"]:
        lines.append(f"{found['retried']:,} grades were asked for more than once.")
    lines += _answers(found)
    return lines


def _answers(found: Mapping[str, Any]) -> list[str]:
    lines = _too_long(found)
    if found["cut"]:
        lines.append(f"{found['cut']:,} answers were cut at the token limit.")
    if found["speaking_to_judge"]:
        lines.append(
            f"{found['speaking_to_judge']:,} answers hold words for the judge, such as an "
            "instruction; look at them."
        )
    return lines


def _too_long(found: Mapping[str, Any]) -> list[str]:
    count = found["too_long"]
    return (
        [f"{count:,} prompts were longer than the model's window: empty answers."] if count else []
    )


def _pairs(found: Mapping[str, Any]) -> list[str]:
    win, tie, loss = (100 * found[k] for k in ("win", "tie", "loss"))
    order = "both orders" if found["order"] == "both" else "one order a pair, drawn with the seed"
    lines = [
        f"Won {win:.1f}%, tied {tie:.1f}%, lost {loss:.1f}% of {found['rulings']:,} rulings over "
        f"{found['vignettes']:,} vignettes ({order}); the score is wins plus half the ties, its "
        "interval clustered by vignette."
    ]
    whole = found["by_vignette"]
    if found["consistent"] is not None:
        lines.append(
            "Both orders together: won {:.1f}%, tied {:.1f}%, lost {:.1f}% of the vignettes; the "
            "two orders agree for {:.1f}%.".format(
                *(100 * whole[k] for k in ("win", "tie", "loss")), 100 * found["consistent"]
            )
        )
    lines.append(bias_words(found["position_bias"]))
    if found["unread"]:
        lines.append(f"{found['unread']:,} rulings could not be read and are no votes.")
    if found["retried"]:
        lines.append(f"{found['retried']:,} rulings were asked for more than once.")
    lines += _too_long(found)
    if found["agreement"]:
        lines += _agreement(found["agreement"])
    return lines


def bias_words(bias: Mapping[str, Any]) -> str:
    """Say how large the judge's position bias is."""
    size = 100 * bias["size"]
    interval = ""
    if bias["interval"]:
        low, high = (100 * end for end in bias["interval"])
        interval = f" (95% interval {low:+.1f} to {high:+.1f})".replace("-", "−")
    said = f"{size:+.1f} points{interval}".replace("-", "−")
    if not bias["both_orders"]:
        return (
            f"Position: the first answer won {said} more often than the second; with one order a "
            "pair, which answer was better has a part in that."
        )
    if bias["biased"]:
        return (
            f"The judge is biased to the {bias['towards']} answer: being shown first is worth "
            f"{said} over {bias['pairs']:,} pairs. With both orders it favours neither model, "
            "but it draws the score towards 50."
        )
    pairs = bias["pairs"]
    return f"No position bias is seen: being shown first is worth {said} over {pairs:,} pairs."


def _agreement(found: Mapping[str, Any]) -> list[str]:
    said = (
        f"The judge agrees with people on {100 * found['agree']:.0f}% of {found['n']:,} pairs "
        f"({found['votes']:,} votes)"
    )
    kappa = "; kappa is not defined, as they do not vary"
    if found["kappa"] is not None:
        kappa = f", Cohen's kappa {_kappa(found)}"
    lines = [f"{said}{kappa}."]
    for name, one in (found["as_rater"] or {}).items():
        lines += _as_rater(name.replace("_", " "), one)
    return lines


def _kappa(found: Mapping[str, Any]) -> str:
    interval = found["interval"]
    ends = " ({:.2f} to {:.2f})".format(*interval) if interval else ""
    return f"{found['kappa']:.2f}{ends}".replace("-", "−")


def _as_rater(name: str, found: Mapping[str, Any]) -> list[str]:
    judge, raters = found["judge"], found["raters"]
    if judge is None:
        return []
    said = f"As one of the raters, {name}: kappa {_kappa(judge)} over {judge['n']:,} pairs"
    if found["z"] is None:
        return [f"{said}; {len(raters):,} people voted often enough to be compared with."]
    spread = f"{found['mean']:.2f} ± {found['sd']:.2f}".replace("-", "−")
    z = f"{found['z']:+.1f}".replace("-", "−")
    verdict = "within" if found["within"] else "outside"
    return [
        f"{said}, against {spread} of {len(raters):,} people (z {z}, above "
        f"{100 * found['above']:.0f}% of them): {verdict} two standard deviations."
    ]
