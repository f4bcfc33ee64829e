"""Upstream's real contamination report: what it says of what its 78 rows were held against."""

import json

from real_files import real_files

from checks.tables import load_table

#: Prompts of MedQA, MedXpertQA, PubMedQA and MedMCQA, as upstream's script builds them.
FOUR = 1273 + 2450 + 500 + 4183


def test_the_78_rows_were_not_held_against_the_four_benchmarks() -> None:
    folder = real_files("upstream-files", "corpus-f7ac033")
    log = json.loads((folder / "dataset_metadata.json").read_text())["processing_log"]
    (step,) = [one for one in log if one["operation"] == "decontamination"]
    assert step["benchmark_names"] == ["custom_eval_benchmark"]
    report = json.loads((folder / "custom_eval_benchmark__contamination_report.json").read_text())
    assert len(report) == step["contaminated_samples_removed"] == 78
    prompts = list(report.values())
    beyond = sum(prompt >= FOUR for prompt in prompts)
    assert (len(set(prompts)), min(prompts), max(prompts), beyond) == (27, 2113, 22563, 18)
    # What `mfo audit` says of it holds these numbers.
    said = load_table("fully-open-meditron").statements
    (one,) = [s.message for s in said if s.where == "synthetic_moove"]
    for number in ("78", "27 different", "2,113", f"{max(prompts):,}", f"{beyond} of the 78",
                   f"{FOUR - 1:,}", f"{max(prompts) + 1:,}", "custom_eval_benchmark"):  # fmt: skip
        assert number in one
