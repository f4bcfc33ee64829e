"""Files are complete or not there, hashes are one, and a broken line is named."""

import errno
import hashlib
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit import files
from kit.errors import KitError

VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
ROWS = st.lists(st.dictionaries(st.text(max_size=5), VALUES, max_size=3), max_size=6)


def lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


# --- hashes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 2**18 - 1, 2**18 + 1, 3_000_000])
def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path, size: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    (tmp_path / "a").write_bytes(data[:size])
    assert files.sha256_file(tmp_path / "a") == hashlib.sha256(data[:size]).hexdigest()


def test_a_digest_knows_values_and_not_the_order_of_keys() -> None:
    assert files.digest({"a": 1, "b": [2]}) == files.digest({"b": [2], "a": 1})
    assert files.digest({"a": 1}) != files.digest({"a": 2})
    assert len(files.digest("half a pair: \ud800")) == 64


# --- writing --------------------------------------------------------------------------------------


def test_what_is_written_replaces_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    files.write_json(file, {"é": Path("x")})
    assert json.loads(file.read_text(encoding="utf-8")) == {"é": "x"}
    files.write_text(file, "two\nlines\n")
    files.write_bytes(file, b"\0")
    assert file.read_bytes() == b"\0"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("single", [True, False])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, single: bool
) -> None:
    file = tmp_path / "a.txt"
    files.write_text(file, "old")

    def fail() -> None:
        with files.writing(file, single=single) as out:
            out.write("half of the n")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fail()
    with pytest.raises(UnicodeEncodeError):
        files.write_text(file, "half a pair: \ud800")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_disk_that_fills_up_at_the_last_moment_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.txt"
    files.write_text(file, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_text(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_cannot_hold_the_file_is_an_error_that_says_so(tmp_path: Path) -> None:
    for place, cause in (
        (tmp_path / "none" / "a.txt", "there is no such file or folder"),
        (Path("/proc/a.txt"), "no such file or folder"),
    ):
        with (
            pytest.raises(KitError, match="the page cannot be written: ") as error,
            files.os_errors("the page cannot be written", place, fix="--out FILE"),
        ):
            files.write_text(place, "x")
        assert error.value.where == str(place)
        assert cause in error.value.cause
        assert error.value.fix == "--out FILE"
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        files.write_text(tmp_path / "folder", "x")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unwritable for root")
def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with (
            pytest.raises(KitError, match="cannot be written") as error,
            files.os_errors("this cannot be written", tmp_path / "a"),
        ):
            files.write_text(tmp_path / "a", "x")
        assert error.value.cause == "no permission"
    finally:
        tmp_path.chmod(0o700)


def test_permissions_are_there_before_the_first_byte(tmp_path: Path) -> None:
    with files.writing(tmp_path / "secret", mode=0o600) as out:
        [half] = tmp_path.iterdir()
        assert stat.S_IMODE(half.stat().st_mode) == 0o600
        out.write("x")
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_what_a_kill_left_of_a_large_file_is_used_up_by_the_next_write(tmp_path: Path) -> None:
    left = tmp_path / ".image.half"
    left.write_bytes(b"gigabytes of an image")
    with files.replacing(tmp_path / "image", single=True) as half:
        assert half == left
        assert not half.exists()
        half.write_bytes(b"whole")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("image", b"whole")]


def test_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    file = tmp_path / "status"
    texts = [str(n) * 5000 for n in range(8)]
    seen: list[str] = []

    def write(text: str) -> None:
        for _ in range(5):
            files.write_text(file, text)
            seen.append(file.read_text())

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(seen) == 40
    assert set(seen) <= set(texts)
    assert list(tmp_path.iterdir()) == [file]


# --- JSON lines -----------------------------------------------------------------------------------


def read(path: Path, data: bytes, **more: Any) -> list[tuple[int, dict[str, Any]]]:
    path.write_bytes(data)
    return list(files.read_jsonl(path, "file of rows", **more))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jsonl") / "rows.jsonl"


@given(ROWS, st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n \n"]))
def test_rows_come_back_with_their_lines(file: Path, rows: list[Any], end: bytes) -> None:
    data = lines(rows).replace(b"\n", end)
    found = read(file, data)
    assert [row for _, row in found] == rows
    for number, row in found:
        assert json.loads(data.split(b"\n")[number - 1]) == row
    assert read(file, data.rstrip(b"\n"))[: len(rows)] == found, "the last end may be missing"


@given(ROWS.filter(bool), st.data())
def test_a_cut_file_gives_what_is_before_the_cut(file: Path, rows: list[Any], data: Any) -> None:
    raw = lines(rows)
    at = data.draw(st.integers(0, len(raw)))
    whole = raw[:at].count(b"\n")
    assert [row for _, row in read(file, raw[:at], cut="leave out")] == rows[:whole]
    assert files.tail_jsonl(file) == rows[:whole]
    rest = raw[:at].rpartition(b"\n")[2]
    if rest and not raw[at:].startswith(b"\n"):
        with pytest.raises(KitError, match=f"line {whole + 1} is cut off"):
            read(file, raw[:at])


@given(st.binary())
def test_any_bytes_are_rows_or_an_error_that_names_the_line(file: Path, data: bytes) -> None:
    try:
        found = read(file, data)
    except KitError as error:
        name, _, number = error.where.rpartition(":")
        assert (name, 1 <= int(number) <= data.count(b"\n") + 1) == (str(file), True)
        assert error.cause
        assert error.fix
    else:
        assert all(isinstance(row, dict) for _, row in found)
    files.tail_jsonl(file)


GOOD = b'{"a": 1}\n'


@pytest.mark.parametrize(
    ("data", "line", "says"),
    [
        (GOOD + b"{nonsense}\n" + GOOD, 2, "line 2 is not valid JSON"),
        (GOOD + b'{"a": 1}{"a": 2}\n', 2, "line 2 is not valid JSON: Extra data"),
        (b'{"a": 1}{"a": 2}', 1, "line 1 is not valid JSON: Extra data"),
        (GOOD + b"\n[1]\n", 3, "line 3 is not a JSON object"),
        (GOOD + b'{"a": "caf\xe9"}\n', 2, r"line 2 is not UTF-8 \(byte 11"),
        (GOOD + "\ufeff".encode() + GOOD, 2, "line 2 is not valid JSON"),
        ('{"a": 1}\n'.encode("utf-16"), 1, "line 1 is not UTF-8"),
        (b"[" * 100_000 + b"\n", 1, "line 1 is not valid JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}\n", 1, "line 1 is not valid JSON"),
        (GOOD + b'{"a": "so f', 2, "line 2 is cut off in the middle"),
    ],
)
def test_a_broken_line_is_named(file: Path, data: bytes, line: int, says: str) -> None:
    with pytest.raises(KitError, match=says) as error:
        read(file, data)
    assert error.value.where == f"{file}:{line}"


def test_a_byte_order_mark_is_let_pass(file: Path) -> None:
    assert read(file, "\ufeff".encode() + GOOD) == [(1, {"a": 1})]


def test_nan_is_refused_where_scores_are_read(file: Path) -> None:
    for word in (b"NaN", b"Infinity", b"-Infinity"):
        data = b'{"score": %s}\n' % word
        assert len(read(file, data)) == 1
        with pytest.raises(KitError, match=f"line 1 holds {word.decode()}"):
            read(file, data, finite=True)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KitError, match="the file of rows cannot be read: No such") as error:
        list(files.read_jsonl(tmp_path / "none", "file of rows"))
    assert error.value.where == str(tmp_path / "none")
    with pytest.raises(KitError, match="cannot be read"):
        list(files.read_jsonl(tmp_path, "file of rows"))
    assert files.tail_jsonl(tmp_path / "none") == []


def test_the_end_of_a_growing_file_is_read_alone(tmp_path: Path) -> None:
    rows = [{"step": n} for n in range(1000)]
    (tmp_path / "p.jsonl").write_bytes(lines(rows) + b'{"step": 10')
    found = files.tail_jsonl(tmp_path / "p.jsonl", last_bytes=100)
    assert 0 < len(found) < 10
    assert found == rows[-len(found) :]


# --- TOML, JSON -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"a = \n", "the table is not valid TOML: .*line 1"),
        (b'a = "\xff"\n', "the table is not valid TOML: .*utf-8"),
        (b"a = " + b"[" * 100_000, "the table is not valid TOML"),
    ],
)
def test_broken_toml_is_named(tmp_path: Path, data: bytes, says: str) -> None:
    place = tmp_path / "t.toml"
    place.write_bytes(data)
    with pytest.raises(KitError, match=says) as error:
        files.read_toml(place, "the table")
    assert error.value.where == str(place)
    assert error.value.fix
    with pytest.raises(KitError, match="the table is not there"):
        files.read_toml(tmp_path / "none.toml", "the table")


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000])
def test_json_that_is_no_object_is_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.json").write_bytes(data)
    assert files.read_json(tmp_path / "a.json") is None
    assert files.read_json(tmp_path / "none.json") is None


def test_none_is_dropped_for_toml() -> None:
    assert files.without_none({"a": None, "b": [{"c": None, "d": 1}]}) == {"b": [{"d": 1}]}
