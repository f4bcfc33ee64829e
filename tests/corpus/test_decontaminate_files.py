"""Decontamination of files: what is written, and each kind of bad input, said and counted."""

import errno
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from corpus import compare, decontaminate, prompts, stream, tokens
from corpus.contamination_page import pieces
from corpus.prompts import Benchmark
from corpus.rule import Rule
from kit.errors import KitError

pytest.importorskip("tokenizers")
QUESTION = "one two three four five six seven eight nine ten"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """Words are tokens; <s> comes first, as many a model's tokenizer has it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["?", "<s>", *QUESTION.split(), *LETTERS, "<b>", "&"]
    one = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, unk_token="?"))  # noqa: S106
    one.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    one.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", words.index("<s>"))]
    )
    one.enable_truncation(4)  # a limit that a model's file may hold, and that must not apply
    (tmp_path / "tok").mkdir()
    one.save(str(tmp_path / "tok" / "tokenizer.json"))
    return tmp_path / "tok"


def row(identity: Any, *turns: str, name: str = "human") -> dict[str, Any]:
    said = [t for text in turns for t in ({"from": name, "value": text}, ANSWER)]
    return {"id": identity, "conversations": said}


ANSWER = {"from": "gpt", "value": "an answer"}


def write(path: Path, *rows: Any) -> Path:
    path.write_bytes(b"".join(r if isinstance(r, bytes) else dump(r) for r in rows))
    return path


def dump(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


def run(
    tmp_path: Path, tokenizer: Path, rows: Sequence[Any], asked: Sequence[str] = (QUESTION,),
    mode: str = "correct", workers: int = 1,
) -> tuple[dict[str, Any], list[str], dict[str, int]]:  # fmt: skip
    train = write(tmp_path / "rows.jsonl", *rows)
    out = tmp_path / "out"
    summary = decontaminate.decontaminate(
        [train], [Benchmark("b", tuple(asked), "b.jsonl")], tokenizer, out, Rule(mode),
        workers=workers,
    )  # fmt: skip
    kept = (out / "train.jsonl").read_bytes().splitlines()
    return summary, kept, json.loads((out / "reports" / "b.json").read_text())


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_written(
    tmp_path: Path, tokenizer: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CHUNK_ROWS", 3)
    rows = [row(n, f"a {LETTERS[n]}" if n % 5 else f"{LETTERS[n]} {QUESTION}") for n in range(20)]
    summary, kept, report = run(tmp_path, tokenizer, rows, workers=workers)
    assert kept == [dump(r).strip() for r in rows if r["id"] % 5]  # byte for byte
    assert report == {"0": 0, "5": 0, "10": 0, "15": 0}
    assert (summary["rows"], summary["removed"], summary["kept"]) == (20, 4, 16)
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    assert not list((tmp_path / "out").glob("*.half"))


def test_modes_differ_only_where_they_are_defined_to(tmp_path: Path, tokenizer: Path) -> None:
    second = row("second turn", "a b", QUESTION)
    spread = row("spread", "one two three four five", "six seven eight nine ten")
    user = row("user", QUESTION, name="user")
    eight = "one two three four five six seven"  # with <s>: 8 tokens, which upstream's loses
    rows = [row("first", QUESTION), second, spread, user]
    assert set(run(tmp_path, tokenizer, rows)[2]) == {"first", "second turn", "spread", "user"}
    assert set(run(tmp_path, tokenizer, rows, mode="faithful")[2]) == {"first"}
    assert run(tmp_path, tokenizer, [row("x", eight)], [eight])[2] == {"x": 0}
    summary, _, report = run(tmp_path, tokenizer, [row("x", eight)], [eight], mode="faithful")
    assert (report, summary["benchmarks"]["b"]["never_match"]) == ({}, 1)
    # The hub's shape is upstream's with other names.
    hub = {"id": "h", "messages": [{"role": "user", "content": QUESTION}]}
    assert run(tmp_path, tokenizer, [hub], mode="faithful")[2] == {"h": 0}


def test_the_best_match_and_the_lowest_index_are_reported(tmp_path: Path, tokenizer: Path) -> None:
    half = "one two three four five six seven eight nine ten a b c d e f"
    assert run(tmp_path, tokenizer, [row("x", QUESTION)], [half, QUESTION, QUESTION])[2] == {"x": 1}
    # Two prompts are covered by half; the second could have been covered whole, by its grams.
    text, one, two = "a b c d e f g h i j k l m n o p", "a b c d e f g h", "i j k l m n o p"
    asked = [f"{one} q r s t u v w x", f"{two} {one}"]
    matcher = compare.Matcher(
        Rule("correct"), _NoSpecials(tokenizer), [Benchmark("b", tuple(asked), "")]
    )
    found = matcher.match(tokens.encode(matcher.tokenizer, [text]), [(0, 0)])
    assert [(m.prompt, m.covered) for m in found[0]] == [(0, 8)]


class _NoSpecials:
    """The tokenizer without its special token."""

    def __init__(self, path: Path) -> None:
        self.inner = tokens.load(path)

    def encode_batch_fast(self, texts: list[str]) -> Any:
        return self.inner.encode_batch_fast(texts, add_special_tokens=False)


def test_odd_rows_are_counted_and_kept(tmp_path: Path, tokenizer: Path) -> None:
    rows = [
        {"id": 1, "conversations": [ANSWER]},  # no user turn
        {"id": 2},  # no turns at all
        row("same", QUESTION), row("same", QUESTION), row("same", "a"),
        row(None, QUESTION),
        b'{"id": "half", "conversations": [{"from": "human", "value": "\\ud800 a"}]}\n',
        b"\n",
        row("long", f"{'a b c ' * 600_000}{QUESTION}"),
    ]  # fmt: skip
    summary, kept, report = run(tmp_path, tokenizer, rows, ["", "a b", QUESTION])
    assert report == {"same": 2, "same#2": 2, "rows.jsonl:6": 2, "long": 2}
    assert summary["rows_without_user_turn"] == 2
    assert summary["repeated_ids"] == 2
    assert summary["rows_with_broken_text"] == 1
    assert summary["rows"] == 8
    assert len(kept) == 4
    counts = summary["benchmarks"]["b"]
    assert (counts["empty"], counts["shorter_than_ngram"], counts["never_match"]) == (1, 2, 2)


def test_a_prompt_shorter_than_n_matches_as_a_whole(tmp_path: Path, tokenizer: Path) -> None:
    rows = [row("has", "<s> a b c d e f"), row("part", "a b c d x e f")]
    assert run(tmp_path, tokenizer, rows, ["a b c d e"])[2] == {"has": 0}
    assert run(tmp_path, tokenizer, rows, ["a b c d e"], mode="faithful")[2] == {}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([row(1, "a"), b'{"id": 2, "conv'], "broken JSON: Unterminated.*rows.jsonl:2"),
        ([row(1, "a"), b"\n", b'{"id": "\xff"}\n'], "broken UTF-8.*rows.jsonl:3"),
        ([b"[1]\n"], "an object, not list"),
        ([b'{"conversations": 3}\n'], "not a list of turns"),
        ([b"\n"], "is empty"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_unreadable_rows_are_named_and_nothing_is_left(
    tmp_path: Path, tokenizer: Path, rows: list[Any], says: str, workers: int
) -> None:
    run(tmp_path, tokenizer, [row(1, "a")])  # an older result, which must not pass for this one
    with pytest.raises(KitError, match=f"(?s){says}"):
        run(tmp_path, tokenizer, rows, workers=workers)
    assert not list((tmp_path / "out").iterdir())


def test_a_killed_worker_is_said(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(self: Any, lines: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(compare.Matcher, "check", die)
    with pytest.raises(KitError, match="a worker process was killed") as error:
        run(tmp_path, tokenizer, [row(1, "a")], workers=2)
    assert "--workers" in error.value.fix
    assert not list((tmp_path / "out").iterdir())


def test_a_full_disk_leaves_nothing(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KitError, match="the disk is full"):
        run(tmp_path, tokenizer, [row(1, "a")])
    assert not list((tmp_path / "out").iterdir())


def test_wrong_arguments_are_refused(tmp_path: Path, tokenizer: Path) -> None:
    def call(train: Path, out: Path, asked: int = 1, tok: Path = tokenizer) -> None:
        found = [Benchmark("b", (QUESTION,), "")] * asked
        decontaminate.decontaminate([train], found, tok, out, Rule())

    train = write(tmp_path / "train.jsonl", row(1, "a"))
    for wrong, says in [
        ((train, tmp_path), "would replace"),
        ((tmp_path / "no.jsonl", tmp_path / "o"), "no such training file"),
        ((write(tmp_path / "a.txt"), tmp_path / "o"), "are .jsonl or .parquet"),
        ((train, tmp_path / "o", 0), "no benchmark"),
        ((train, tmp_path / "o", 2), "given twice"),
        ((train, tmp_path / "o", 1, tmp_path), "no tokenizer.json"),
        ((train, tmp_path / "o", 1, train), "not a tokenizer"),
    ]:
        with pytest.raises(KitError, match=says):
            call(*wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "o").exists()
    assert train.read_bytes() == dump(row(1, "a"))
    for wrong_rule in ({"mode": "x"}, {"ngram": 0}, {"threshold": 0.0}, {"threshold": 1.1}):
        with pytest.raises(KitError):
            Rule(**wrong_rule)  # type: ignore[arg-type]


def test_the_page_marks_what_is_shared_and_escapes_the_rest(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decontaminate, "SHOWN", 2)
    rows = [row(f"<i>{n}</i>", f"<script>x</script> {QUESTION}") for n in range(3)]
    run(tmp_path, tokenizer, rows)
    page = (tmp_path / "out" / "contamination.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<i>" not in page
    assert f"<mark>{QUESTION}</mark>" in page
    assert "The first 2 of 3" in page
    assert page.count("the user&#39;s turn</h4>") == 2
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_the_page_names_rows_as_the_reports_do(tmp_path: Path, tokenizer: Path) -> None:
    rows = [row("same", "a"), row("same", QUESTION), row("turns", QUESTION[:23], QUESTION[24:])]
    _, _, report = run(tmp_path, tokenizer, rows)
    page = (tmp_path / "out" / "contamination.html").read_text()
    assert list(report) == ["same#2", "turns"]
    assert "<h3>same#2</h3>" in page
    assert "the user&#39;s turns joined" in page


def test_long_stretches_are_shortened_and_it_is_said() -> None:
    cut = pieces("a" * 5000 + "SHARED" + "b", [(5000, 5006)])
    assert cut == [("a" * 600, False, 3800), ("a" * 600, False, 0), ("SHARED", True, 0),
                   ("b", False, 0)]  # fmt: skip


def test_prompts_are_built_from_native_schemas(tmp_path: Path) -> None:
    def read(value: Any, field: str | None = None) -> str:
        return prompts.read("b", write(tmp_path / "b.jsonl", value), field).prompts[0]

    choices = ["w", "x", "y", "z"]
    four = "stem\nA. w\nB. x\nC. y\nD. z"
    medmcqa = {"question": "stem", **dict(zip(("opa", "opb", "opc", "opd"), choices, strict=True))}
    endings = {f"ending{n}": text for n, text in enumerate(choices)}
    assert read(medmcqa) == read({"sent1": "stem", "sent2": "", **endings}) == four
    assert read({"context": {"contexts": ["p", "q"]}, "question": "r"}) == "p q\nr"
    assert read({"question": "s (A) t", "options": {"A": "t"}, "label": "A"}) == "s (A) t"
    mmlu = {"question": "stem", "options": choices, "answer": "A", "category": "law"}
    arc = {"question": "stem", "choices": {"label": [*"ABCD"], "text": choices}, "answerKey": "A"}
    assert read(mmlu) == read(arc) == four
    assert read({"key": 1, "prompt": "u", "kwargs": []}) == "u"
    with pytest.raises(KitError, match="no list of texts"):
        read({**arc, "choices": 3})
    turns = [
        {"role": r, "content": c} for r, c in (("user", "u"), ("assistant", "v"), ("user", "w"))
    ]
    assert read({"prompt": turns}) == "u\nw"
    assert read({"anything": "t"}, "anything") == "t"
    for content, says in [
        (b"", "no rows"),
        (b'{"a": 1}', "FILE:FIELD"),
        (b"{\n", "line 1 is not valid JSON"),
        (b'"\xff"', "line 1 is not UTF-8"),
        (b"3", "not a JSON object"),
    ]:
        (tmp_path / "b.jsonl").write_bytes(content)
        with pytest.raises(KitError, match=says):
            prompts.read("b", tmp_path / "b.jsonl")
    assert prompts.parse(f"m={tmp_path / 'b.jsonl'}:text") == ("m", tmp_path / "b.jsonl", "text")
    for wrong in ("file.jsonl", "=x", "a/b=x", "../a=x"):
        with pytest.raises(KitError):
            prompts.parse(wrong)


def test_a_turn_of_ten_megabytes_is_compared_like_any_other(
    tmp_path: Path, tokenizer: Path
) -> None:
    long = "a b c d " * 1_300_000
    rows = [row("clean", long), row("found", long + QUESTION), row("short", "a b")]
    summary, kept, report = run(tmp_path, tokenizer, rows)
    assert len(dump(rows[0])) > 10_000_000
    assert report == {"found": 0}
    assert [json.loads(line)["id"] for line in kept] == ["clean", "short"]
    page = (tmp_path / "out" / "contamination.html").stat().st_size
    assert page < 100_000  # shown shortened
    assert (
        "so long that what is shared is not marked"
        in (tmp_path / "out" / "contamination.html").read_text()
    )
    assert summary["removed"] == 1
