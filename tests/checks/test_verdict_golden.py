"""Verdicts of every kind, to the byte as they are on file: whoever reads old ones relies on it.

python tests/checks/test_verdict_golden.py      writes data/verdicts.jsonl, on purpose only
"""

import json
from pathlib import Path
from typing import Any

import pytest

from checks.items import Item
from checks.tables import parse_table
from checks.verdict import judge

GOLDEN = Path(__file__).parent / "data" / "verdicts.jsonl"

TABLE = parse_table(
    {
        "table": {"source": "a test"},
        "benchmarks": {
            "m": {"items": 200, "title": "M", "chance": 25.0},
            "wide": {"items": 200, "margin": 8.0, "margin_why": "fixed", "decimals": 1},
            "rubric": {"items": 60, "metric": "mean"},
            "unsized": {},
        },
        "models": {
            "base": {"m": 50.0, "wide": 50.0, "rubric": 20.0},
            "ours": {
                "base": "base", "m": {"value": 75.0, "pm": 1.5, "seeds": [74.0, 76.0]},
                "wide": 75.0, "rubric": 40.0, "unsized": 50.0,
                "average": {"value": 75.0, "over": ["m", "wide"], "gain": 25.0},
            },
        },
        "comparisons": [{"name": "auto_moove", "model": "ours", "against": "base",
                         "win": 50.0, "tie": 20.0, "loss": 30.0}],
    },
    name="t", where="t.toml",
)  # fmt: skip


def scored(name: str, right: int, n: int = 200, **more: Any) -> list[Item]:
    return [Item(name, str(i), float(i < right), **more) for i in range(n)]


def graded(n: int = 60) -> list[Item]:
    def grades(i: int) -> list[dict[str, Any]]:
        good = {"criterion": "says so", "points": 6, "tags": ["axis:accuracy"], "met": i % 3 != 0}
        harm = {"criterion": "harms", "points": -2, "tags": [], "met": None if i == 1 else False}
        return [good, {**harm, "tries": 2}]

    return [
        Item(
            "rubric",
            str(i),
            float(i % 3 != 0),
            response="Take it.",
            cluster=str(i),
            extra={"grades": grades(i), "tags": ["theme:drugs"]},
        )
        for i in range(n)
    ]


def compared(n: int = 40) -> list[Item]:
    def ruling(first: bool, outcome: str) -> dict[str, Any]:
        return {"ours_first": first, "outcome": outcome, "scores": {"Clarity": [4, 3]}}

    out = []
    for i in range(n):
        first, second = "ours" if i < 28 else "theirs", "ours" if i < 18 else "theirs"
        worth = [first, second].count("ours") / 2
        votes = [{"rater": str(r), "winner": "first" if (i + r) % 3 else "tie"} for r in range(3)]
        rulings = [ruling(True, first), ruling(False, second)]
        extra = {"rulings": rulings, "votes": votes, "vote_rulings": rulings}
        out.append(Item("auto_moove", str(i), worth, cluster=str(i), extra=extra))
    return out


LETTERED = [
    Item("m", str(i), float(i < 150), gold="A", answer="A" if i < 150 else "B",
         response=f"Answer: {'A' if i < 150 else 'B'}") for i in range(200)
]  # fmt: skip

#: name -> benchmarks, items, tier, and what else judge is given.
CASES: dict[str, tuple[dict[str, list[Item]], str, dict[str, Any]]] = {
    "weights, all items": ({"m": scored("m", 151)}, "weights", {}),
    "weights, one repeats": (
        {"m": [i for r in range(3) for i in scored("m", 148 + 2 * r, repeat=r)]}, "weights", {},
    ),
    "weights, a sample": (
        {"m": scored("m", 90, 120), "rubric": graded(40)}, "weights",
        {"allow_partial": True, "planned": {"m": {"items": 120, "of": 200, "why": "a limit"}}},
    ),
    "weights, another file": (
        {"m": scored("m", 150)}, "weights", {"planned": {"m": {"items": 200, "of": 300}}},
    ),
    "retrained": ({"m": scored("m", 150), "wide": scored("wide", 150)}, "retrain",
                  {"base_items": {"m": scored("m", 100)}, "loss": [{"step": 1, "loss": 2.5}],
                   "provenance": {"run": "r", "seed": 7, "trained": True}}),
    "retrained, far off": ({"m": scored("m", 100), "wide": scored("wide", 190)}, "retrain", {}),
    "retrained, at the edge": ({"wide": scored("wide", 136)}, "retrain", {}),
    "seeds agree": ({"wide": [i for s in (1, 2, 3) for i in scored("wide", 149 + s, seed=s)]},
                    "retrain", {}),
    "seeds apart": ({"wide": [i for s in (1, 2) for i in scored("wide", 120 + 20 * s, seed=s)]},
                    "retrain", {}),
    "seeds uneven": ({"m": [*scored("m", 150, seed=1), *scored("m", 150, 199, seed=2)]},
                     "retrain", {}),
    "nothing scored": ({}, "retrain", {"benchmarks": ["m", "unsized"]}),
    "items missing": ({"m": scored("m", 100, 150), "unsized": scored("unsized", 5, 9)},
                      "retrain", {}),
    "a failed task": ({"m": scored("m", 10, 20)}, "retrain", {"failed": {"m": "out of memory"}}),
    "judged": ({"rubric": graded(), "auto_moove": compared()}, "retrain",
               {"planned": {"auto_moove": {"items": 40, "of": 40}}}),
    "triangle": ({"m": scored("m", 130), "wide": scored("wide", 151)}, "retrain",
                 {"reference_items": {"m": scored("m", 151), "wide": scored("wide", 120)}}),
    "read by other rules": ({"m": LETTERED}, "weights", {}),
}  # fmt: skip


def verdict(name: str) -> dict[str, Any]:
    items, tier, more = CASES[name]
    given: Any = {"benchmarks": list(items), **more}
    return judge(items=items, table=TABLE, model="ours", tier=tier, **given)  # type: ignore[arg-type]


def written() -> dict[str, str]:
    lines = GOLDEN.read_text(encoding="utf-8").splitlines()
    return dict(zip((json.loads(line)["case"] for line in lines), lines, strict=True))


def comparable(line: str) -> str:
    """The text, but for the digits by which machines and versions of scipy differ."""
    return json.dumps(json.loads(line, parse_float=lambda digits: round(float(digits), 9)))


def as_line(name: str) -> str:
    return json.dumps({"case": name, **verdict(name)}, ensure_ascii=False, allow_nan=False)


@pytest.mark.parametrize("name", CASES)
def test_a_verdict_is_written_as_before(name: str) -> None:
    assert comparable(as_line(name)) == comparable(written()[name])


def test_a_key_more_a_key_moved_and_a_digit_are_seen() -> None:
    line = as_line("retrained")
    found = json.loads(line)
    moved = json.dumps(dict(reversed(found.items())))
    for other in (moved, json.dumps({**found, "more": 1}), line.replace("75.0", "75.01")):
        assert comparable(other) != comparable(line)


if __name__ == "__main__":
    GOLDEN.write_text("".join(as_line(name) + "\n" for name in CASES), encoding="utf-8")
