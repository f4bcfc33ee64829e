"""The report page: one self-contained file, drawn from verdict.json.

Model output is hostile text. The template escapes everything by default, the figures escape what
they are given, and the page's content security policy allows one style sheet and one script, by
their hashes, and no network at all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from checks.items import Item, by_benchmark, read_items
from checks.judge_lines import judged_lines
from checks.report.figure import WIDTHS
from checks.report.forest import forest
from checks.report.judge_plots import bias, shares
from checks.report.lines import STYLE, loss_curve, loss_ends
from kit.files import write_text
from kit.page import render

__all__ = ["ITEMS_SHOWN", "write_report"]

HERE = Path(__file__).parent
ITEMS_SHOWN = 150  # of each benchmark; the whole files lie beside the page
TEXT_SHOWN = 6000  # characters of a question or response


def write_report(
    verdict: Mapping[str, Any],
    out_dir: Path,
    items_dir: Path | Mapping[str, Sequence[Item]] | None,
) -> Path:
    """Write ``out_dir/index.html``.

    Args:
        verdict: the content of verdict.json.
        out_dir: the folder of the page; made where it is missing.
        items_dir: a folder or file of items for the browser of items, or benchmark -> items
            where they were read already, or None.

    Returns:
        The page.

    Raises:
        KitError: where the items cannot be read.
    """
    from markupsafe import Markup

    from checks.terminal import MARKS, TIERS, cells_of, number

    style = (HERE / "page.css").read_text(encoding="utf-8") + STYLE
    rows = verdict["benchmarks"]
    groups = _groups(items_dir, {r["benchmark"] for r in rows if r["metric"] == "mean"})
    shown = [_browsed(row, groups.get(row["benchmark"], [])) for row in rows]
    page = render(
        HERE / "page.html.j2",
        style=style,
        script=(HERE / "page.js").read_text(encoding="utf-8"),
        v=verdict,
        rows=rows,
        cells=cells_of,
        number=number,
        marks=MARKS,
        tier=TIERS[verdict["tier"]],
        forest={k: Markup(forest(rows, w)) for k, w in WIDTHS.items()},  # noqa: S704  escaped there
        loss={k: Markup(loss_curve(verdict["loss"], w)) for k, w in WIDTHS.items()},  # noqa: S704
        ends=loss_ends(verdict["loss"]),
        has_before=any(row["before"] for row in rows),
        groups=[group for group in shown if group["items"]],
        facts=list(_flat(verdict["provenance"])),
        decisions=[str(note) for note in verdict["provenance"].get("notes", [])],
        margins=_margins(rows),
        rules={
            variant["name"]: variant["about"]
            for one in verdict.get("sensitivity", ())
            for variant in one["variants"]
        },
        judged=[_judged(row) for row in rows if row.get("judged")],
    )
    target = Path(out_dir) / "index.html"
    write_text(target, page, parents=True)
    return target


def _judged(row: Mapping[str, Any]) -> dict[str, Any]:
    """Give what the page shows of a judge's work: words, figures, and a table of means."""
    from markupsafe import Markup

    found = row["judged"]
    out: dict[str, Any] = {"title": row["title"], "lines": judged_lines(row), "figures": []}
    if found["kind"] == "pairs":
        drawn = (("Rulings", shares), ("What being shown first is worth, in points", bias))
        out["figures"] = [
            (title, {k: Markup(draw(found, w)) for k, w in WIDTHS.items()})  # noqa: S704  numbers
            for title, draw in drawn
        ]
        out["heads"] = ("Criterion, 1 to 5", "Ours", "Theirs", "Difference", "95% interval", "n")
        out["means"] = [
            (name, f"{c['ours']:.2f}", f"{c['theirs']:.2f}", _signed(c["difference"]),
             "{} to {}".format(*map(_signed, c["interval"])), f"{c['n']:,}")
            for name, c in found["criteria"].items()
        ]  # fmt: skip
    else:
        out["heads"] = ("Theme or axis", "Score", "95% interval", "n")
        out["means"] = [
            (tag, f"{100 * t['mean']:.2f}",
             "{:.2f}–{:.2f}".format(*(min(100.0, 100 * end) for end in t["interval"])),
             f"{t['n']:,}")
            for tag, t in found["by_tag"].items() if not tag.startswith("level:")
        ]  # fmt: skip
    return out


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _groups(
    items: Path | Mapping[str, Sequence[Item]] | None, rubric: Collection[str]
) -> Mapping[str, Sequence[Item]]:
    if items is None or isinstance(items, Mapping):
        return items or {}
    return by_benchmark(read_items(items, rubric=rubric)) if items.exists() else {}


def _margins(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Give each reason for a margin once, with the benchmarks that it holds for."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row["margin_why"]:
            reasons.setdefault(row["margin_why"], []).append(row["title"])
    return [(", ".join(titles), why) for why, titles in reasons.items()]


def _browsed(row: Mapping[str, Any], items: Sequence[Item]) -> dict[str, Any]:
    """Choose the items that the page shows: all, or a share of the unparsed, wrong and right."""
    kinds: dict[str, list[Item]] = {"not scored": [], "unparsed": [], "wrong": [], "right": []}
    for item in items:
        kinds[_kind(item)].append(item)
    chosen = list(items)
    if len(chosen) > ITEMS_SHOWN:
        # What went wrong is what a reader looks for; what went right is there to compare.
        right = kinds["right"][: ITEMS_SHOWN // 3]
        first = [*kinds["not scored"], *kinds["unparsed"]][: ITEMS_SHOWN // 3]
        wrong = kinds["wrong"][: ITEMS_SHOWN - len(right) - len(first)]
        keep = {id(item) for item in (*first, *wrong, *right)}
        chosen = [item for item in items if id(item) in keep]
    return {
        "benchmark": row["benchmark"],
        "title": row["title"],
        "total": len(items),
        "counts": {kind: len(found) for kind, found in kinds.items() if found},
        "items": [_shown(item) for item in chosen],
    }


def _kind(item: Item) -> str:
    if item.score is None:
        return "not scored"
    if item.unparsed:
        return "unparsed"
    return "right" if item.score >= 1 else "wrong"


def _shown(item: Item) -> dict[str, Any]:
    return {
        "id": item.id if item.seed is None else f"{item.id}, seed {item.seed}",
        "repeat": item.repeat,
        "kind": _kind(item),
        "score": item.score,
        "gold": item.gold,
        "answer": item.answer,
        "question": _cut(item.question),
        "options": item.options or {},
        "response": _cut(item.response),
        "against": _cut(_against(item)),
        "why": item.why or _why(item),
    }


def _against(item: Item) -> str | None:
    """Give the answer that a judge held this item's response against."""
    found = item.extra.get("against")
    return found if isinstance(found, str) else None


def _why(item: Item) -> str:
    """Say why an item scored as it did, where the evaluation did not say."""
    if item.score is None:
        return "The item was not scored."
    if item.unparsed:
        return "No answer could be read out of the response, so it counts as wrong."
    if item.answer is not None and item.gold is not None and item.score in (0.0, 1.0):
        same = "is" if item.score else "is not"
        return f"The extracted answer {item.answer} {same} the right one, {item.gold}."
    return f"The evaluation gave {item.score:g} of 1."


def _cut(text: str | None) -> str | None:
    if text is None or len(text) <= TEXT_SHOWN:
        return text
    return f"{text[:TEXT_SHOWN]}\n… [{len(text) - TEXT_SHOWN:,} more characters are in the items]"


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Lay out nested provenance as pairs of a dotted name and text."""
    pairs: list[tuple[str, str]] = []
    for key, entry in value.items():
        if key == "notes" and not prefix:
            continue
        name = f"{prefix}{key}"
        if isinstance(entry, Mapping):
            pairs += _flat(entry, f"{name}.")
        elif isinstance(entry, list | tuple):
            pairs.append((name, ", ".join(map(str, entry)) or "none"))
        elif entry is not None:
            pairs.append((name, str(entry)))
    return pairs
