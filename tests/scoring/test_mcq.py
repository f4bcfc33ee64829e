"""Multiple-choice benchmarks: the four schemas, and bad input."""

import json
from pathlib import Path
from typing import Any

import pytest

from kit.errors import KitError
from scoring import mcq

SMOKE = Path(__file__).parents[2] / "recipes" / "smoke" / "benchmarks"


def medqa(**changes: Any) -> dict[str, Any]:
    row = {"id": "q1", "sent1": "Which?", "sent2": "", "label": 2}
    row.update({f"ending{i}": f"text {i}" for i in range(4)})
    return {**row, **changes}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# --- reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "count"), [(n, 3 if n == "pubmedqa" else 4) for n in mcq._FIELDS])
def test_smoke_benchmark_reads_as_its_schema(name: str, count: int) -> None:
    questions = mcq.read_benchmark(SMOKE / f"{name}.jsonl")
    assert {q.benchmark for q in questions} == {name}
    expected = 10 if name == "medxpertqa" else count
    assert all(len(q.options) == expected and q.gold in q.options for q in questions)
    for question in questions:
        assert question.prompt.endswith(mcq.CLOSING)
        # Each option is shown exactly once as an option, also where the question lists them itself.
        for letter, text in question.options.items():
            shown = question.prompt.count(f"{letter}. {text}") + question.prompt.count(
                f"({letter}) {text}"
            )
            assert shown == 1


def test_gold_is_the_option_the_index_points_at(tmp_path: Path) -> None:
    (question,) = mcq.read_benchmark(write(tmp_path / "medqa.jsonl", medqa(label=2)))
    assert question.options[question.gold] == "text 2"


def test_published_selection_restricts_pubmedqa(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (SMOKE / "pubmedqa.jsonl").open(encoding="utf-8")]
    path = write(tmp_path / "pubmedqa_labeled.jsonl", *rows)
    wanted = [rows[3]["pubid"], rows[5]["pubid"]]
    listing = tmp_path / "pubmedqa_test_pubids.json"
    listing.write_text(json.dumps(wanted))
    assert [q.id for q in mcq.read_benchmark(path)] == [str(i) for i in wanted]
    listing.write_text(json.dumps([*wanted, 1]))
    with pytest.raises(KitError, match="1 of the 3 selected items"):
        mcq.read_benchmark(path)


def _no_label(row: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k != "label"}


BAD_ROWS: list[tuple[dict[str, Any], str, str]] = [
    (medqa(label=4), "no usable gold answer", "0 to 3"),
    (medqa(label=None), "no usable gold answer", "0 to 3"),
    (medqa(label=True), "no usable gold answer", "0 to 3"),
    (medqa(sent1="  "), "'sent1' is empty", "question"),
    (medqa(ending1=""), "'ending1' is empty", "option"),
    (medqa(id=None), "no id", "id"),
    (_no_label(medqa()), "not the fields", "found: id, sent1"),
]


@pytest.mark.parametrize(("row", "what", "cause"), BAD_ROWS)
def test_bad_item_names_its_line(
    tmp_path: Path, row: dict[str, Any], what: str, cause: str
) -> None:
    path = write(tmp_path / "medqa.jsonl", medqa(id="first"), row)
    with pytest.raises(KitError, match=what) as caught:
        mcq.read_benchmark(path)
    assert caught.value.where == f"{path}:2"
    assert cause in caught.value.cause
    assert caught.value.fix
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("data", "what", "line"),
    [
        (b"", "no items", None),
        (b"\n\n", "no items", None),
        (json.dumps(medqa()).encode() + b'\n{"id": "q2", "sent', "line 2 is cut off", 2),
        (json.dumps(medqa()).encode() + b"\n\n[1]\n", "line 3 is not a JSON object", 3),
        (b'{"id": "caf\xe9"}\n', "line 1 is not UTF-8", 1),
        (json.dumps(medqa()).encode() * 2, "line 1 is not valid JSON: Extra data", 1),
        (2 * (json.dumps(medqa()).encode() + b"\n"), "'q1' appears twice", 2),
    ],
)
def test_bad_file_names_its_line(tmp_path: Path, data: bytes, what: str, line: int | None) -> None:
    path = tmp_path / "medqa.jsonl"
    path.write_bytes(data)
    with pytest.raises(KitError, match=what) as caught:
        mcq.read_benchmark(path)
    assert caught.value.where == (f"{path}:{line}" if line else str(path))


def test_missing_file_and_wrong_benchmark(tmp_path: Path) -> None:
    with pytest.raises(KitError, match="cannot be read"):
        mcq.read_benchmark(tmp_path / "medqa.jsonl")
    path = write(tmp_path / "medqa.jsonl", medqa())
    with pytest.raises(KitError, match="not the fields of medmcqa"):
        mcq.read_benchmark(path, "medmcqa")
    with pytest.raises(KitError, match="Unknown benchmark"):
        mcq.read_benchmark(path, "mmlu")
