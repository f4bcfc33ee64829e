"""What readers get: the terminal's table, the page, Markdown and JUnit, all from verdict.json."""

import copy
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from checks.items import Item, write_items
from checks.report import write_junit, write_markdown, write_report
from checks.report.figure import WIDTHS
from checks.report.forest import forest
from checks.report.lines import loss_curve
from checks.report.page import ITEMS_SHOWN
from checks.tables import parse_table
from checks.terminal import print_verdict
from checks.verdict import judge

HOSTILE = '</pre><script>document.title="owned"</script><img src=x onerror=alert(1)>'


def items(key: str, k: int, n: int) -> list[Item]:
    return [
        Item(
            key,
            f"{key}-{i}",
            float(i < k),
            gold="B",
            answer="B" if i < k else None if i == n - 1 else "C",
            unparsed=i >= k and i == n - 1,
            question=f"Which organ does question {i} ask for?",
            options={"A": "liver", "B": f"heart {HOSTILE}"},
            response=f"The answer is (B). {HOSTILE}",
        )
        for i in range(n)
    ]


SCORED = {"medqa": (80, 80), "medmcqa": (30, 80), "pubmedqa": (8, 8), "medxpertqa": (0, 0)}


@pytest.fixture(scope="module")
def verdict() -> dict[str, Any]:
    titles = {"medqa": "MedQA", "medmcqa": "MedMCQA", "pubmedqa": "PubMedQA"}
    raw = {
        "table": {"source": f"a table {HOSTILE}"},
        "benchmarks": {
            key: {"items": 80, "margin": 8.0, "title": titles.get(key, key)} for key in SCORED
        },
        "models": {
            "before": {},
            f"tuned {HOSTILE}": {
                "base": "before",
                **dict.fromkeys(SCORED, 98.75),
                "average": {"value": 98.75, "over": ["medqa", "medmcqa"]},
            },
        },
    }
    held = parse_table(raw, name="t", where="t.toml")
    return judge(
        items={key: items(key, k, n) for key, (k, n) in SCORED.items()},
        table=held,
        model=f"tuned {HOSTILE}",
        benchmarks=list(SCORED),
        tier="retrain",
        planned={"pubmedqa": {"items": 8, "of": 80, "why": "eval.limit=8"}},
        base_items={"medqa": items("medqa", 9, 80)},
        loss=[{"step": s, "loss": 7 / s} for s in range(1, 60)],
        provenance={
            "run": "r1",
            "seed": 42,
            "packages": {"torch": "2.13.0"},
            "notes": [f"bf16: off {HOSTILE}"],
        },
    )


@pytest.fixture(scope="module")
def page(verdict: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    for key, (k, n) in SCORED.items():
        if n:
            write_items(folder / "items" / f"{key}.jsonl", items(key, k, n))
    return write_report(verdict, folder / "report", folder / "items")


def printed(verdict: dict[str, Any], width: int, *, colour: bool) -> str:
    out = StringIO()
    system: Any = "standard" if colour else None
    console = Console(file=out, width=width, force_terminal=colour, color_system=system)
    print_verdict(verdict, console)
    return out.getvalue()


@pytest.mark.parametrize("width", [100, 60, 40])
def test_the_terminal_says_every_verdict_in_words(verdict: dict[str, Any], width: int) -> None:
    text = printed(verdict, width, colour=False)
    assert "\x1b" not in text
    assert "…" not in text
    for word in ("✓ reproduced", "✗ not reproduced", "? inconclusive", "! invalid"):
        assert word in text
    assert "INVALID" in text
    assert "items would do" in text
    assert "next: mfo logs r1" in text
    if width == 100:
        rows = text.split("MedQA: ")[0].splitlines()
        assert max(map(len, rows)) <= 100
        row = next(line for line in rows if line.startswith("MedQA"))
        assert re.sub(" +", " ", row).strip() == (
            "MedQA 11.25 100.00 80/80 98.75 +1.25 95.42–100.00 ±8.00 ✓ reproduced"
        )


def test_the_terminal_has_colour_where_there_is_one(verdict: dict[str, Any]) -> None:
    assert "\x1b[32m" in printed(verdict, 100, colour=True)


class Reader(HTMLParser):
    """Collects the text by element, and everything that could load or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.ids: dict[str, str] = {}
        self.inside: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "input", "line", "rect", "circle", "polyline"}:
            self.inside.append(dict(attrs).get("id"))

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002
        if self.inside:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        self.text += data
        for name in self.inside:
            if name:
                self.ids[name] = self.ids.get(name, "") + data


def test_the_page_holds_the_verdict_first_and_the_items(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.ids["verdict"].split() == ["!", "Invalid"]
    assert text.index('id="verdict"') < text.index('id="scores"') < text.index('id="items"')
    for word in ("MedQA", "95.42–100.00", "eval.limit=8", "packages.torch", "2.13.0", "bf16: off"):
        assert word in reader.text
    assert "Which organ does question 3 ask for?" in reader.text
    assert "No answer could be read out of the response" in reader.text
    assert text.count("<svg") == 4  # the forest plot and the loss curve, each for two widths


def test_the_page_loads_nothing_and_hostile_text_stays_text(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    scripts = [attrs for tag, attrs in reader.tags if tag == "script"]
    assert scripts == [{}]  # the page's own, inline
    assert not {"img", "iframe", "object", "embed"} & {tag for tag, _ in reader.tags}
    for tag, attrs in reader.tags:
        assert not any(name.startswith("on") or name == "style" for name in attrs), (tag, attrs)
        link = attrs.get("href") or attrs.get("src") or ""
        assert link.startswith(("#", "data:")) or not link
    assert HOSTILE not in text
    assert 'document.title="owned"' in reader.text
    assert "http://" not in text.replace("http://www.w3.org", "")
    policy = next(a["content"] for t, a in reader.tags if a.get("http-equiv"))
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_a_long_file_of_items_is_cut_and_the_page_says_so(
    verdict: dict[str, Any], tmp_path: Path
) -> None:
    many = [Item("medqa", str(i), float(i % 2), response="x" * 9000) for i in range(2000)]
    write_items(tmp_path / "items" / "medqa.jsonl", many)
    page = write_report(verdict, tmp_path / "out", tmp_path / "items")
    text = page.read_text(encoding="utf-8")
    assert write_report(verdict, tmp_path / "out", {"medqa": many}).read_text("utf-8") == text
    assert text.count("<details") == ITEMS_SHOWN
    assert f"{ITEMS_SHOWN} of 2,000 are shown here" in text
    assert "more characters are in the items" in text


def test_a_page_without_items_loss_or_scores_is_drawn_too(
    verdict: dict[str, Any], tmp_path: Path
) -> None:
    bare = copy.deepcopy(verdict)
    bare["loss"], bare["notes"], bare["next"], bare["provenance"] = [], [], [], {}
    bare["benchmarks"] = [row for row in bare["benchmarks"] if row["observed"] is None]
    text = write_report(bare, tmp_path, None).read_text(encoding="utf-8")
    assert "Training loss" not in text
    assert "No item was scored" in text


def test_the_forest_plot_draws_what_the_verdict_says(verdict: dict[str, Any]) -> None:
    for width in WIDTHS.values():
        svg = forest(verdict["benchmarks"], width)
        root = ElementTree.fromstring(svg)  # noqa: S314
        kinds = [element.get("class", "").split()[0] for element in root if element.get("class")]
        assert kinds.count("band") == 3
        assert kinds.count("observed") == 3
        assert kinds.count("before") == 1
        assert kinds.count("published") == 4
        for element in root:
            for name in ("x", "x1", "x2", "cx"):
                assert -6 <= float(element.get(name, "0")) <= width
        band = next(e for e in root if e.get("class") == "band")
        line = next(e for e in root if e.get("class") == "published")
        left, right = (float(band.get(k, "nan")) for k in ("x", "width"))
        assert left < float(line.get("x1", "nan")) <= left + right


def test_the_loss_curve_leaves_out_what_is_not_finite() -> None:
    points = [{"step": i, "loss": math.nan if i == 3 else 1 / i} for i in range(1, 9)]
    root = ElementTree.fromstring(loss_curve([*points, {"step": 9}], 760))  # noqa: S314
    (line,) = (e for e in root if e.tag.endswith("polyline"))
    assert len(line.get("points", "").split()) == 7
    assert loss_curve(points[:1], 760) == ""
    assert loss_curve([{"step": i, "loss": 1.0} for i in range(5000)], 350).count(",") < 1000


def test_markdown_escapes_and_says_the_same(verdict: dict[str, Any]) -> None:
    text = write_markdown(verdict)
    assert "<script" not in text
    assert "| MedQA | 11.25 | 100.00 | 80/80 |" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert all(row["verdict"] in text for row in verdict["benchmarks"])


def test_junit_counts_failures_errors_and_skips(verdict: dict[str, Any], tmp_path: Path) -> None:
    odd = copy.deepcopy(verdict)
    odd["benchmarks"][0]["reason"] += " \x00 & <b>"
    root = ElementTree.parse(write_junit(odd, tmp_path / "junit.xml")).getroot()  # noqa: S314
    assert {k: root.get(k) for k in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
    }
    assert [len(case.findall("failure")) for case in root] == [0, 1, 0, 0]


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_runs_the_pages_script_and_no_other(
    page: Path, tmp_path: Path, scheme: str
) -> None:
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
    command += ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
    command += ["--disable-sync", f"--user-data-dir={tmp_path / 'profile'}"]
    command += [f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"]
    command += ["--window-size=390,800", "--dump-dom", page.resolve().as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    reader = Reader()
    reader.feed(done.stdout)
    assert "<title>invalid: tuned" in done.stdout  # a script of the model's would have changed it
    assert "168 of 168 items" in reader.text  # the page's own script counted them
    button = re.search(r'<button id="theme"[^>]*>(\w+)</button>', done.stdout)
    assert button is not None
    assert button[1] == ("Dark" if scheme == "light" else "Light")
    assert json.dumps(reader.ids["verdict"])
