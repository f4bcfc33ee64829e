"""Fetching: from stand-ins of every origin, resumed after a kill, each byte checked."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from standin_files import StandInFiles, git_mirror, lay_out, stand_in_files

from corpus.fetch import Part, Wanted, Watch, fetch
from corpus.origins import Folder, GitUrl, Hub, UnreachableError, mirror, origins
from corpus.store import Repo, Store, Tick, check_path, digest
from kit.errors import KitError

COMMIT = "a" * 40
DATA = {
    "data/one/train-0.parquet": b"0123456789" * 400_000,
    "README.md": b"---\nlicense: mit\n---\n",
}
REPO = Repo("dataset", "org/corpus")
MODEL = Repo("model", "org/model")


@pytest.fixture
def hub() -> Iterator[StandInFiles]:
    with stand_in_files() as found:
        found.repos["dataset", "org/corpus"] = (COMMIT, dict(DATA))
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    lay_out(tmp_path / "mirror", "dataset", "org/corpus", COMMIT, DATA)
    return Folder(tmp_path / "mirror")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def want(revision: str = "main", **pins: str) -> Wanted:
    sha256 = {"data/one/train-0.parquet": pins["sha256"]} if pins else {}
    return Wanted(REPO, revision, ("data/one/*.parquet",), "corpus", sha256)


def place(store: Store) -> Path:
    return store.snapshot(REPO, COMMIT) / "data/one/train-0.parquet"


def test_a_folder_in_the_hubs_layout(store: Store, folder: Folder) -> None:
    (part,) = fetch([want()], store, [folder])
    assert place(store).read_bytes() == DATA["data/one/train-0.parquet"]
    assert not place(store).is_symlink()
    assert (part.by, part.brought, part.commit) == ("hub", True, COMMIT)
    # A second time nothing is brought, and what a branch stood for is kept without asking.
    (part,) = fetch([want()], store, [])
    assert (part.by, part.brought) == ("record", False)
    root = store.verified(REPO, "main", ["data/one/*.parquet"], "mfo fetch x")
    assert root == store.snapshot(REPO, COMMIT)


def test_a_hub_over_http_and_its_own_library_reads_the_cache(
    store: Store, hub: StandInFiles
) -> None:
    from huggingface_hub import snapshot_download

    fetch([want()], store, [Hub(hub.url)])
    assert place(store).read_bytes() == DATA["data/one/train-0.parquet"]
    found = snapshot_download(
        "org/corpus", repo_type="dataset", revision="main", cache_dir=store.hub,
        local_files_only=True,
    )  # fmt: skip
    assert (Path(found) / "data/one/train-0.parquet").is_file()


def test_a_changed_byte_is_noticed_kept_aside_and_mended(store: Store, folder: Folder) -> None:
    fetch([want()], store, [folder])
    with place(store).open("r+b") as file:
        file.write(b"X")
    with pytest.raises(KitError, match="has changed") as error:
        store.verified(REPO, "main", ["data/one/*.parquet"], "mfo fetch x")
    assert "mfo fetch x keeps it aside" in error.value.fix
    # Without an origin it stays away: wrong bytes are not used.
    with pytest.raises(KitError, match="wrong hash"):
        fetch([want()], store, [])
    assert not place(store).exists()
    (part,) = fetch([want()], store, [folder])
    assert part.brought
    assert place(store).read_bytes() == DATA["data/one/train-0.parquet"]
    (aside,) = (p for p in (store.cache / "aside").rglob("*") if p.is_file())
    assert aside.read_bytes().startswith(b"X12345")


def test_a_changed_byte_with_its_old_time_is_noticed_by_the_next_fetch(
    store: Store, folder: Folder
) -> None:
    fetch([want()], store, [folder])
    stat = place(store).stat()
    with place(store).open("r+b") as file:
        file.write(b"X")
    os.utime(place(store), ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (part,) = fetch([want()], store, [folder])
    assert part.aside
    assert part.brought


def test_a_hub_that_sends_wrong_bytes_is_not_believed(store: Store, hub: StandInFiles) -> None:
    hub.spoil.add("data/one/train-0.parquet")
    with pytest.raises(KitError, match="wrong hash and is not used") as error:
        fetch([want()], store, [Hub(hub.url)])
    assert not place(store).exists()
    assert Path(error.value.where).is_file()
    hub.spoil.clear()
    fetch([want()], store, [Hub(hub.url)])
    assert (
        digest(place(store)).sha256 == hashlib.sha256(DATA["data/one/train-0.parquet"]).hexdigest()
    )


def test_the_next_origin_is_asked_where_one_is_wrong(
    store: Store, hub: StandInFiles, folder: Folder
) -> None:
    hub.spoil.add("data/one/train-0.parquet")
    (part,) = fetch([want()], store, [Hub(hub.url), folder])
    assert part.aside
    assert place(store).read_bytes() == DATA["data/one/train-0.parquet"]


def test_a_pin_outweighs_what_the_hub_says(store: Store, folder: Folder) -> None:
    right = hashlib.sha256(DATA["data/one/train-0.parquet"]).hexdigest()
    (part,) = fetch([want(sha256=right)], store, [folder])
    assert part.by == "pin"
    with pytest.raises(KitError, match="not the file that was pinned"):
        fetch([want(sha256="0" * 64)], Store(store.cache.with_name("other")), [folder])
    # A pin that comes later: the file that is there is not used any more.
    with pytest.raises(KitError):
        fetch([want(sha256="0" * 64)], store, [folder])
    with pytest.raises(KitError, match=r"gone\.parquet is not in"):
        fetch([Wanted(REPO, "main", ("data/*",), "c", {"gone.parquet": right})], store, [folder])


KILLED = """
import os, signal, sys
from pathlib import Path
from corpus import origins
from corpus.fetch import Wanted, Watch, fetch
from corpus.store import Repo, Store
origins.PIECE = 300_000
class Kill(Watch):
    gone = 0
    def begin(self, part, doing):
        def tick(count):
            self.gone += count
            if self.gone >= 1_500_000:
                os.kill(os.getpid(), signal.SIGKILL)
        return tick
(origin,) = [o for o in origins.mirror(sys.argv[2]) if "dataset" in o.kinds]
from huggingface_hub import constants
constants.DOWNLOAD_CHUNK_SIZE = 300_000
fetch([Wanted(Repo("dataset", "org/corpus"), "main", ("data/one/*.parquet",), "c")],
      Store(Path(sys.argv[1])), [origin], watch=Kill())
"""


class Count(Watch):
    def __init__(self) -> None:
        self.first: dict[str, int] = {}

    def begin(self, _: Part, doing: str) -> Tick:
        def tick(count: int) -> None:
            self.first.setdefault(doing, count)

        return tick


@pytest.mark.parametrize("kind", ["folder", "http"])
def test_a_killed_fetch_goes_on_where_it_was(
    store: Store, hub: StandInFiles, folder: Folder, kind: str
) -> None:
    given = hub.url if kind == "http" else folder.name
    killed = subprocess.run([sys.executable, "-c", KILLED, str(store.cache), given], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not place(store).exists()  # nothing half-written is taken for whole
    with pytest.raises(KitError, match="has not been fetched"):
        store.verified(REPO, "main", ["data/one/*.parquet"], "mfo fetch x")
    halves = [*store.folder(REPO).glob("half/*"), *store.folder(REPO).glob("blobs/*.incomplete")]
    assert [p.stat().st_size >= 1_000_000 for p in halves] == [True]
    hub.ranges.clear()
    count = Count()
    fetch([want()], store, [Hub(hub.url) if kind == "http" else folder], watch=count)
    assert place(store).read_bytes() == DATA["data/one/train-0.parquet"]
    if kind == "http":
        assert [begin >= 1_000_000 for _, begin in hub.ranges] == [True]
    else:
        assert count.first["fetched"] >= 1_000_000


def test_a_wrong_half_does_not_stay_in_the_way(store: Store, folder: Folder) -> None:
    half = store.half(REPO, COMMIT, "data/one/train-0.parquet")
    half.write_bytes(b"something else")
    fetch([want()], store, [folder])
    assert place(store).read_bytes() == DATA["data/one/train-0.parquet"]


@pytest.mark.parametrize("how", ["folder", "itself", "url"])
def test_pinned_files_come_from_a_git_mirror(store: Store, tmp_path: Path, how: str) -> None:
    files = {"tasks/a.yaml": b"task: a\n", "b.py": b"x = 1\n"}
    commit = git_mirror(tmp_path / "git", "owner/name", files)
    pins = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    wanted = Wanted(Repo("github", "owner/name"), commit, tuple(pins), "upstream", pins)
    bare = tmp_path / "git" / "owner" / "name.git"
    origin = {"folder": Folder(tmp_path / "git"), "itself": Folder(bare),
              "url": GitUrl((tmp_path / "git").as_uri())}[how]  # fmt: skip
    parts = fetch([wanted], store, [origin])
    assert [p.by for p in parts] == ["pin", "pin"]
    assert (
        store.cache / f"upstream/owner--name/{commit}/tasks/a.yaml"
    ).read_bytes() == b"task: a\n"
    other = Wanted(wanted.repo, "b" * 40, ("b.py",), "upstream", {})
    with pytest.raises(KitError, match="cannot be had"):
        fetch([other], store, [origin])
    wrong = Wanted(wanted.repo, commit, ("b.py",), "upstream", {"b.py": "0" * 64})
    with pytest.raises(KitError, match="wrong hash"):
        fetch([wrong], Store(tmp_path / "other"), [origin])


def test_a_plain_folder_inside_a_git_repository_is_not_that_repository(tmp_path: Path) -> None:
    commit = git_mirror(tmp_path / "git", "owner/name", {"a": b"a"})
    (tmp_path / "git" / "work" / "inside").mkdir()
    with pytest.raises(UnreachableError):
        Folder(tmp_path / "git" / "work" / "inside")._git(Repo("github", "owner/name"), commit)


def test_one_failed_file_does_not_lose_the_others(store: Store, tmp_path: Path) -> None:
    files = {f"data/one/train-{n}.parquet": bytes([n]) * 10 for n in range(5)}
    snapshot = lay_out(tmp_path / "m", "dataset", "org/corpus", COMMIT, files)
    (snapshot / "data/one/train-2.parquet").resolve().write_bytes(b"spoilt")
    with pytest.raises(KitError, match=r"train-2\.parquet.*wrong hash"):
        fetch([want()], store, [Folder(tmp_path / "m")])
    assert len(list((store.snapshot(REPO, COMMIT) / "data/one").iterdir())) == 4
    with pytest.raises(KitError, match="not been fetched whole"):
        store.verified(REPO, "main", ["data/one/*.parquet"], "mfo fetch x")


def test_what_cannot_be_had_says_why_and_what_next(store: Store, hub: StandInFiles) -> None:
    gone = Wanted(Repo("dataset", "org/gone"), "main", ("x",), "corpus")
    with pytest.raises(KitError, match=r"org/gone \(corpus\) cannot be had") as error:
        fetch([gone], store, [Hub(hub.url)])
    assert "--mirror" in error.value.fix
    with pytest.raises(KitError) as error:
        fetch([gone], store, origins([], offline=True))
    assert "HF_HUB_OFFLINE" in error.value.where
    with pytest.raises(KitError, match="is called nothing"):
        fetch([Wanted(REPO, "main", ("nothing*",), "corpus")], store, [Hub(hub.url)])
    with pytest.raises(KitError, match="no such mirror"):
        mirror("/there/is/no/such")


def test_a_hostile_listing_cannot_lead_out_of_the_cache(store: Store, hub: StandInFiles) -> None:
    hub.repos["dataset", "org/corpus"] = (COMMIT, {"../../../escaped.parquet": b"x"})
    with pytest.raises(KitError, match="leads out"):
        fetch([Wanted(REPO, "main", ("*.parquet",), "c")], store, [Hub(hub.url)])
    for path in ("/etc/passwd", "a/../../b", "..", "a\\..\\b", ""):
        with pytest.raises(KitError):
            check_path(path)
    with pytest.raises(KitError):
        Repo("dataset", "../x")


def test_a_full_disk_is_said_before_and_while(
    store: Store, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1))
        with pytest.raises(KitError, match="are to be fetched"):
            fetch([want()], store, [folder])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder, "bring", full)
    with pytest.raises(KitError, match="the disk is full") as error:
        fetch([want()], store, [folder])
    assert error.value.exit_code == 1
    assert not place(store).exists()


def test_two_fetches_at_once_do_not_mix(store: Store, folder: Folder) -> None:
    with store.held(), pytest.raises(KitError, match="another mfo fetch"):
        fetch([want()], Store(store.cache), [folder])


def test_a_moved_branch_is_taken_only_when_asked(store: Store, hub: StandInFiles) -> None:
    fetch([want()], store, [Hub(hub.url)])
    hub.repos["dataset", "org/corpus"] = ("b" * 40, dict(DATA))
    assert fetch([want()], store, [Hub(hub.url)])[0].commit == COMMIT
    assert fetch([want()], store, [Hub(hub.url)], update=True)[0].commit == "b" * 40
    assert store.commit(REPO, "main") == "b" * 40


def test_a_cut_record_is_no_record(store: Store, folder: Folder) -> None:
    fetch([want()], store, [folder])
    record = store.folder(REPO) / f"fetched-{COMMIT}.json"
    assert json.loads(record.read_text())["patterns"] == ["data/one/*.parquet"]
    record.write_text(record.read_text()[:40])
    with pytest.raises(KitError, match="has not been fetched"):
        store.verified(REPO, COMMIT, ["data/one/*.parquet"], "mfo fetch x")
    assert not fetch([want()], store, [folder])[0].brought
