"""Locks on disk: what is read is what was written, and everything else is refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containers import lockfile
from containers.lockfile import Pin
from kit.errors import KitError

NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,5}){0,2}", fullmatch=True)
HASHES = st.lists(st.from_regex(r"[0-9a-f]{64}", fullmatch=True), min_size=1, max_size=3)
VERSIONS = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,3}(\+cpu)?", fullmatch=True)
PINS = st.dictionaries(NAMES, st.tuples(VERSIONS, HASHES), max_size=6)
H = "0" * 64


@given(PINS)
def test_written_and_read_again(found: dict[str, tuple[str, list[str]]]) -> None:
    pins = {n: Pin(n, v, tuple(h)) for n, (v, h) in found.items()}
    assert lockfile.parse(lockfile.text(pins), "x") == pins


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert all(pin.hashes for pin in lockfile.parse(text, "x").values())
    except KitError as error:
        assert error.where == "x"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("torch==2.13.0\n", "has no hash"),
        (f"torch>=2 --hash=sha256:{H}\n", "not NAME==VERSION"),
        (f"--index-url https://evil.example\ntorch==2 --hash=sha256:{H}\n", "not NAME==VERSION"),
        (f"torch @ https://evil.example/x.whl --hash=sha256:{H}\n", "not NAME==VERSION"),
        (f"torch==2 --hash=md5:{H[:32]}\n", "not NAME==VERSION"),
        (f"torch==2 --hash=sha256:{H[:-1]}\n", "not NAME==VERSION"),
        (f"torch==2 --hash=sha256:{H}\ntorch==3 --hash=sha256:{H}\n", "stands twice"),
    ],
)
def test_what_is_no_pin_with_hashes_is_refused(text: str, says: str) -> None:
    with pytest.raises(KitError, match=says):
        lockfile.parse(text, "lock.txt")


def make(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    facts = 'python = "3.12"\nmade_from = "x"\nmachines = ["aarch64"]\nrenewed = []\n'
    (folder / "lock.toml").write_text(files.pop("facts", facts))
    for part in lockfile.PARTS:
        (folder / f"aarch64{part}.txt").write_text("")
    for name, text in files.items():
        (
            folder / f"aarch64{name.replace('wheels', '').replace('source', '.source')}.txt"
        ).write_text(text)
    return folder


def test_a_lock_without_an_architecture_says_so_by_lacking_it(tmp_path: Path) -> None:
    lock = lockfile.read(
        make(tmp_path / "l", wheels=f"a==1 --hash=sha256:{H}\n"), ("aarch64", "x86_64")
    )
    assert set(lock.pins) == {"aarch64"}
    assert lock.all("aarch64")["a"].version == "1"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"facts": "python = 3"}, "python takes text, not 3"),
        ({"facts": "python ="}, "not valid TOML"),
        ({"wheels": f"a==1 --hash=sha256:{H}\n", "source": f"a==1 --hash=sha256:{H}\n"},
         "a stands in two parts"),
    ],
)  # fmt: skip
def test_a_broken_lock_is_one_error(tmp_path: Path, files: dict[str, str], says: str) -> None:
    with pytest.raises(KitError, match=says):
        lockfile.read(make(tmp_path / "l", **files), ("aarch64",))


def test_a_missing_lock_or_part_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(KitError, match="there is no lock") as error:
        lockfile.read(tmp_path, ("aarch64",))
    assert "mfo image lock" in error.value.fix
    (make(tmp_path / "l") / "aarch64.txt").unlink()
    with pytest.raises(KitError, match="cannot be read"):
        lockfile.read(tmp_path / "l", ("aarch64",))


def test_the_digest_is_of_what_is_installed_and_nothing_else(tmp_path: Path) -> None:
    one = lockfile.read(make(tmp_path / "1", wheels=f"a==1 --hash=sha256:{H}\n"), ("aarch64",))
    two = lockfile.read(make(tmp_path / "2", wheels=f"a==2 --hash=sha256:{H}\n"), ("aarch64",))
    same = lockfile.read(make(tmp_path / "3", source=f"a==1 --hash=sha256:{H}\n"), ("aarch64",))
    digests = [lock.digest("aarch64") for lock in (one, two, same)]
    assert digests[0] == digests[2] != digests[1]
