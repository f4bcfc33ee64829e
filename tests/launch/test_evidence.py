"""Bundles of a run: packed, checked, tampered with, and without a secret in them."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from finished import finished_run

from checks.archive import pack, unpack
from checks.bundle import check_bundle, make_bundle
from kit.errors import KitError
from launch.cli import bundle
from launch.run.folder import Run

Call = Callable[..., tuple[int, str, str]]
TOKEN = "hf_" + "aB3" * 12
WANDB = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def run(tmp_path: Path, corpus_file: Path) -> Run:
    return finished_run(tmp_path, corpus_file)


@pytest.fixture
def packed(run: Run, tmp_path: Path, call: Call) -> Path:
    out = tmp_path / "evidence.tar.gz"
    code, _, err = call("bundle", run.name, "--runs", run.path.parent, "--out", out)
    assert code == 0, err
    return out


def repacked(bundle: Path, place: str, change: Callable[[bytes], bytes]) -> Path:
    """Change a member and make the manifest fit, as somebody would who wants to cheat."""
    import hashlib

    members = unpack(bundle)
    members[place] = change(members[place])
    manifest = json.loads(members["manifest.json"])
    manifest["members"][place] = {
        "sha256": hashlib.sha256(members[place]).hexdigest(),
        "size": len(members[place]),
    }
    members["manifest.json"] = json.dumps(manifest).encode()
    other = bundle.with_name("repacked.tar.gz")
    other.write_bytes(pack(members))
    return other


def test_a_bundle_is_checked_and_its_verdict_derived_again(packed: Path, call: Call) -> None:
    code, out, err = call("check-bundle", packed)
    assert code == 0, err
    assert "The verdict follows from the items" in out
    assert "REPRODUCED" in out
    said = json.loads(call("check-bundle", packed, "--json")[1])
    assert said["agrees"] is True
    assert said["verdict"]["verdict"] == "reproduced"
    assert "not a table of this kit" in said["table"]


def test_the_same_run_gives_the_same_bytes(packed: Path, run: Run, call: Call) -> None:
    again = packed.with_name("again.tar.gz")
    assert call("bundle", run.name, "--runs", run.path.parent, "--out", again)[0] == 0
    assert again.read_bytes() == packed.read_bytes()


def test_what_shows_how_the_run_went_is_there_and_no_weights(packed: Path) -> None:
    members = unpack(packed)
    assert {
        "run.toml", "verdict.json", "case.json", "table.toml", "items/medqa.jsonl",
        "items/rubric.jsonl", "train/log", "train/axolotl.yaml", "train/progress.jsonl",
        "environment/packages.txt", "environment/versions.json", "evaluate/summary.json",
        "corpus/outputs.json",
    } <= set(members)  # fmt: skip
    assert not [name for name in members if "safetensors" in name or "train.jsonl" in name]
    assert b"click==" in members["environment/packages.txt"]


def test_a_tampered_score_is_caught(packed: Path, call: Call) -> None:
    def better(data: bytes) -> bytes:
        return data.replace(b'"score": 0.0', b'"score": 1.0')

    code, out, _ = call("check-bundle", repacked(packed, "items/medqa.jsonl", better))
    assert code == 1
    assert "does NOT follow" in out
    assert "benchmarks[medqa].observed: the bundle says 75.0, its items give 100.0" in out


def test_a_tampered_verdict_is_caught(packed: Path, call: Call) -> None:
    def better(data: bytes) -> bytes:
        verdict = json.loads(data)
        verdict["benchmarks"][1]["margin"] = 20.0
        return json.dumps(verdict).encode()

    code, out, _ = call("check-bundle", repacked(packed, "verdict.json", better))
    assert (code, "margin" in out) == (1, True)


def test_a_benchmark_left_out_of_the_verdict_is_caught(packed: Path) -> None:
    case = json.loads(unpack(packed)["case.json"])
    other = repacked(
        packed, "case.json", lambda _: json.dumps({**case, "benchmarks": ["medqa"]}).encode()
    )
    assert any("scored and is not judged" in line for line in check_bundle(other).differences)


def test_a_table_that_borrows_a_built_in_name_is_caught(
    tmp_path: Path, corpus_file: Path, call: Call
) -> None:
    from checks.tables import table_path

    run = finished_run(
        tmp_path, corpus_file, **{"published.table": "fully-open-meditron",
                                  "published.model": "Gemma-3-27B-MeditronFO",
                                  "eval.benchmarks": ["medqa"], "published.tier": "weights"}
    )  # fmt: skip
    place = "table.toml"
    honest = bundle.collect(run)
    make_bundle(tmp_path / "honest.tar.gz", honest)
    assert "same bytes as this kit's" in check_bundle(tmp_path / "honest.tar.gz").table

    same = honest[place] + b"# a comment\n"
    other = repacked(tmp_path / "honest.tar.gz", place, lambda _: same)
    assert any("sha256" in line for line in check_bundle(other).differences)
    assert "another version" in check_bundle(other).table

    lower = table_path("fully-open-meditron").read_bytes().replace(b"77.61", b"55.00")
    found = check_bundle(repacked(tmp_path / "honest.tar.gz", place, lambda _: lower))
    assert "NOT as this kit has it" in found.table
    assert any(line.startswith("the table inside") for line in found.differences)


def test_a_verdict_that_does_not_follow_is_not_packed(run: Run, call: Call, tmp_path: Path) -> None:
    file = run.items / "medqa.jsonl"
    file.write_text(file.read_text().replace('"score": 0.0', '"score": 1.0'))
    out = tmp_path / "x.tar.gz"
    code, _, err = call("bundle", run.name, "--runs", run.path.parent, "--out", out)
    assert (code, "does not follow from its items" in err) == (2, True)
    assert not list(tmp_path.glob("*x.tar.gz*"))


def test_no_secret_is_packed(
    run: Run, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SERVICE_PASSWORD", 'open "sesame" é')
    monkeypatch.setenv("WANDB_API_KEY", WANDB)
    log = run.folder("train") / "log"
    log.write_text(
        f'token {TOKEN}\nwandb: api key: {"f" * 40}\n{WANDB}\nlogin with open "sesame" é\n'
        f"commit {'e' * 40}\n" + json.dumps({"note": 'open "sesame" é'}) + "\n"
    )
    yaml = run.folder("train") / "axolotl.yaml"
    yaml.write_text(f"hub_token: {TOKEN}\nkey: sk-{'a1' * 12}\n")
    out = tmp_path / "x.tar.gz"
    assert call("bundle", run.name, "--runs", run.path.parent, "--out", out)[0] == 0
    whole = b"".join(unpack(out).values()).decode()
    for secret in (TOKEN, "f" * 40, WANDB, "sesame", "a1a1a1"):
        assert secret not in whole
    assert "e" * 40 in whole, "a commit is no secret"
    assert json.loads(call("check-bundle", out, "--json")[1])["agrees"]


def archive(*members: tuple[str, bytes, bytes]) -> bytes:
    """Give a tar as an attacker writes it: (name, type, content or the link's target)."""
    out = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=out, mode="wb", mtime=0, filename="") as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, kind, data in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind == tarfile.REGTYPE:
                info.size = len(data)
            else:
                info.linkname = data.decode()
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


FILE = tarfile.REGTYPE


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (archive(("../../etc/cron.d/x", FILE, b"x")), "climbs out"),
        (archive(("items/../../x", FILE, b"x")), "climbs out"),
        (archive(("/etc/passwd", FILE, b"x")), "absolute path"),
        (archive(("C:/x", FILE, b"x")), "absolute path"),
        (archive(("a\\b", FILE, b"x")), "absolute path"),
        (archive(("items/x.jsonl", tarfile.SYMTYPE, b"/etc/passwd")), "not a plain file"),
        (archive(("items/x.jsonl", tarfile.LNKTYPE, b"run.toml")), "not a plain file"),
        (archive(("items", tarfile.DIRTYPE, b"")), "not a plain file"),
        (archive(("fifo", tarfile.FIFOTYPE, b"")), "not a plain file"),
        (archive(("x", tarfile.GNUTYPE_LONGNAME, b"")), "not a plain file"),
        (archive(("x", tarfile.XHDTYPE, b"")), "not a plain file"),
        (archive(("a", FILE, b"1"), ("a", FILE, b"2")), "twice"),
        (archive(("a", FILE, b"1"), ("A", FILE, b"2")), "twice"),
        (archive(("a", FILE, b"1"), ("a/b", FILE, b"2")), "also a file"),
        (archive(("\x1b[2J", FILE, b"1")), "letters"),
        (archive(), "manifest.json is missing"),
        (archive(("manifest.json", FILE, b"[" * 100_000)), "not a JSON object"),
        (archive(("manifest.json", FILE, b'{"format": "x"}')), "not a bundle that this kit reads"),
        (b"PK\x03\x04 a zip", "does not begin as one"),
        (b"", "does not begin as one"),
        (archive(("a", FILE, b"x" * 5000))[:-20], "damaged or cut off"),
    ],
)
def test_a_hostile_archive_is_one_clear_error(
    data: bytes, says: str, tmp_path: Path, call: Call
) -> None:
    file = tmp_path / "hostile.tar.gz"
    file.write_bytes(data)
    code, out, err = call("check-bundle", file)
    assert code == 2
    assert says in err
    assert "Traceback" not in err
    assert out == ""
    assert [p.name for p in tmp_path.rglob("*")] == ["hostile.tar.gz"]


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = tmp_path / "bomb.tar.gz"
    header = tarfile.TarInfo("items/medqa.jsonl")
    header.size = 10 * 2**30
    with bomb.open("wb") as file, gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="") as z:
        z.write(header.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(KitError, match="claims 10,737,418,240 bytes"):
        check_bundle(bomb)

    # A header that understates: what is there counts, not what is said.
    header.size = 2**28
    with bomb.open("wb") as file, gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="") as z:
        z.write(header.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(40):
            z.write(bytes(2**20))
    with pytest.raises(KitError, match="a bomb"):
        check_bundle(bomb)

    monkeypatch.setattr("checks.archive.MOST_MEMBERS", 3)
    bomb.write_bytes(archive(*((f"f{i}", FILE, b"") for i in range(5))))
    with pytest.raises(KitError, match="more than 3 files"):
        check_bundle(bomb)


def test_any_changed_byte_is_seen(packed: Path, tmp_path: Path) -> None:
    whole = packed.read_bytes()
    other = tmp_path / "changed.tar.gz"
    places = [*range(12), *range(12, len(whole), max(1, len(whole) // 150)), len(whole) - 1]
    for place in places:
        other.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with pytest.raises(KitError):
            check_bundle(other)


def test_a_missing_member_and_an_added_one_are_seen(packed: Path, tmp_path: Path) -> None:
    members = unpack(packed)
    other = tmp_path / "other.tar.gz"
    other.write_bytes(pack({k: v for k, v in members.items() if k != "train/log"}))
    with pytest.raises(KitError, match="train/log is missing"):
        check_bundle(other)
    other.write_bytes(pack({**members, "extra.txt": b"x"}))
    with pytest.raises(KitError, match=r"extra\.txt is not in the manifest"):
        check_bundle(other)
    other.write_bytes(pack({**members, "train/log": b"x"}))
    with pytest.raises(KitError, match="train/log is not what was packed"):
        check_bundle(other)


@pytest.mark.parametrize(
    ("place", "content"),
    [
        ("case.json", b'{"model": 1}'),
        ("case.json", b'{"model": "ours", "benchmarks": ["../x"], "tier": "retrain"}'),
        ("case.json", b'{"model": "ours", "benchmarks": ["medqa"], "tier": "x"}'),
        ("case.json", b'{"model": "ours", "benchmarks": ["medqa"], "tier": "retrain", "x": 1}'),
        ("case.json", b'{"model": "o", "benchmarks": [], "tier": "retrain", "planned": {"m": 1}}'),
        ("table.toml", b"["),
        ("items/medqa.jsonl", b"<html>"),
        ("verdict.json", b"[]"),
        ("verdict.json", b'{"schema": NaN}'),
    ],
)
def test_a_member_that_makes_no_sense_is_one_clear_error(
    packed: Path, call: Call, place: str, content: bytes
) -> None:
    code, _, err = call("check-bundle", repacked(packed, place, lambda _: content))
    assert code == 2
    assert "Traceback" not in err
    assert "mfo-bundle-" not in err, "the temporary folder means nothing to the reader"


def test_a_bundle_does_not_steer_the_terminal(packed: Path, call: Call) -> None:
    def coloured(data: bytes) -> bytes:
        return data.replace(b"an invented paper", b"\\u001b[2Jowned")

    def title(data: bytes) -> bytes:
        return data.replace(b'title = "MedQA"', b'title = "\\u001b[2JMedQA"')

    code, out, _ = call("check-bundle", repacked(packed, "table.toml", title))
    assert code == 1
    assert "\x1b[2J" not in out
    assert "\x1b[2J" not in call("check-bundle", repacked(packed, "verdict.json", coloured))[1]


def test_there_is_nothing_to_pack(run: Run, call: Call, tmp_path: Path) -> None:
    run.verdict.unlink()
    code, _, err = call("bundle", run.name, "--runs", run.path.parent)
    assert (code, "no verdict yet" in err) == (2, True)
    assert call("check-bundle", tmp_path / "none.tar.gz")[0] == 2
