"""Archives: the same bytes twice, back as they were, and no bytes do anything but one error."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.archive import HEADER, pack, unpack
from kit.errors import KitError

NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}(/[a-z][a-z0-9._-]{0,8}){1,2}", fullmatch=True)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(NAMES, st.binary(max_size=2000), max_size=6))
def test_what_is_packed_is_unpacked(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, bytes]
) -> None:
    if any(a.startswith(f"{b}/") for a in members for b in members):
        return  # a file that is also a folder is refused
    path = tmp_path_factory.mktemp("a") / "x.tar.gz"
    path.write_bytes(pack(members))
    assert unpack(path) == members
    assert pack(dict(members)) == path.read_bytes()


@settings(deadline=None, max_examples=80)
@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_give_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, header: bool
) -> None:
    path = tmp_path_factory.mktemp("b") / "x.tar.gz"
    path.write_bytes(HEADER * header + data)
    with pytest.raises(KitError) as caught:
        unpack(path)
    assert caught.value.fix


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_changed_byte_changes_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, place: int, mask: int
) -> None:
    members = {f"f{i}.txt": bytes(range(i, i + 90)) * i for i in range(6)}
    whole = bytearray(pack(members))
    whole[place % len(whole)] ^= mask
    path = tmp_path_factory.mktemp("c") / "x.tar.gz"
    path.write_bytes(whole)
    # Deflate leaves a few bits unused: changing one of those changes nothing.
    with contextlib.suppress(KitError):
        assert unpack(path) == members


def test_what_would_be_refused_is_not_packed() -> None:
    for name in ("../x", "/x", "a b", "x" * 300, ""):
        with pytest.raises(KitError):
            pack({name: b""})
