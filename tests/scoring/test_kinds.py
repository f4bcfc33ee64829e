"""Which benchmark a file is, and how each is scored."""

import json
from pathlib import Path

import pytest

from kit.errors import KitError
from scoring import kinds


def test_benchmarks_are_found_by_the_longest_name(tmp_path: Path) -> None:
    for name in (
        "medqa_test",
        "medxpertqa_text_sample",
        "notes",
        "healthbench",
        "healthbench_hard",
        "healthbench-consensus.2025",
        "auto_moove_v2",
        "medqalike",
    ):
        (tmp_path / f"{name}.jsonl").touch()
    (tmp_path / "medmcqa.txt").touch()
    assert {n: p.stem for n, p in kinds.find_benchmarks(tmp_path).items()} == {
        "medqa": "medqa_test",
        "medxpertqa": "medxpertqa_text_sample",
        "healthbench": "healthbench",
        "healthbench_hard": "healthbench_hard",
        "healthbench_consensus": "healthbench-consensus.2025",
        "auto_moove": "auto_moove_v2",
        "auto_moove_medgemma": "auto_moove_v2",
    }
    (tmp_path / "medqa.jsonl").touch()
    with pytest.raises(KitError, match="Two files claim to be medqa"):
        kinds.find_benchmarks(tmp_path)
    # One file serves both comparisons: two would no longer be the same vignettes.
    (tmp_path / "auto_moove_medgemma.jsonl").touch()
    (tmp_path / "medqa.jsonl").unlink()
    with pytest.raises(KitError, match="Two files claim to be auto_moove"):
        kinds.find_benchmarks(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(KitError, match="No benchmark"):
        kinds.find_benchmarks(tmp_path / "empty")


def test_a_file_is_checked_as_what_it_is_called(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"id": "1", "prompt": "What now?"}) + "\n")
    assert kinds.check("auto_moove", path) == 1
    with pytest.raises(KitError, match="prompt_id"):
        kinds.check("healthbench", path)
    with pytest.raises(KitError):
        kinds.check("medqa", path)


def test_comparisons_of_the_same_vignettes_draw_the_same() -> None:
    drawn = {n: kinds.draw(range(1000), 20, 42, n) for n in ("auto_moove_medgemma", *kinds.KINDS)}
    assert drawn["auto_moove_medgemma"] == drawn["auto_moove"]
    assert drawn["auto_moove"] != drawn["healthbench"]
