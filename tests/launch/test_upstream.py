"""Upstream's pinned files are given as paths only where their bytes are the pinned ones."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from kit.errors import KitError
from launch.inputs.upstream import load_pins, pinned_file, pinned_folder
from launch.run import site as sites
from launch.run.site import Site

COMMIT = "0123456789" * 4


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.delenv("MFO_CACHE", raising=False)
    return replace(sites.load("laptop"), cache=str(tmp_path / "cache"))


@pytest.fixture
def pins(tmp_path: Path) -> Path:
    files = {"tasks/a.yaml": b"task: a\n", "tasks/b.yaml": b"task: b\n", "other.py": b"x = 1\n"}
    lines = [f'"{path}" = "{hashlib.sha256(data).hexdigest()}"' for path, data in files.items()]
    out = tmp_path / "upstream.toml"
    out.write_text(
        f'[own]\nrepo = "someone/project"\ncommit = "{COMMIT}"\n[own.sha256]\n' + "\n".join(lines)
    )
    folder = tmp_path / "cache" / "upstream" / "someone--project" / COMMIT
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return out


def test_a_verified_file_and_folder_are_given(site: Site, pins: Path) -> None:
    assert pinned_file(site, "own", "tasks/a.yaml", pins=pins).read_bytes() == b"task: a\n"
    folder = pinned_folder(site, "own", "tasks", pins=pins)
    assert sorted(p.name for p in folder.iterdir()) == ["a.yaml", "b.yaml"]
    assert (pinned_folder(site, "own", pins=pins) / "other.py").is_file()


def test_a_changed_byte_is_refused(site: Site, pins: Path) -> None:
    pinned_file(site, "own", "tasks/b.yaml", pins=pins).write_bytes(b"task: B\n")
    for ask in (lambda: pinned_file(site, "own", "tasks/b.yaml", pins=pins),
                lambda: pinned_folder(site, "own", "tasks", pins=pins)):  # fmt: skip
        with pytest.raises(KitError, match="not the one that was pinned") as error:
            ask()
        assert "mfo fetch" in error.value.fix
    pinned_file(site, "own", "tasks/a.yaml", pins=pins)


def test_what_is_not_fetched_or_not_pinned_is_said(site: Site, pins: Path) -> None:
    pinned_file(site, "own", "other.py", pins=pins).unlink()
    with pytest.raises(KitError) as error:
        pinned_file(site, "own", "other.py", pins=pins)
    assert "mfo fetch RECIPE --site laptop" in error.value.fix
    with pytest.raises(KitError, match="nearest: tasks/a"):
        pinned_file(site, "own", "tasks/a.yml", pins=pins)
    with pytest.raises(KitError, match="nearest: own"):
        pinned_file(site, "owm", "tasks/a.yaml", pins=pins)
    with pytest.raises(KitError, match="nothing below 'task'"):
        pinned_folder(site, "own", "task", pins=pins)


def test_the_kits_own_pins_are_whole() -> None:
    every = load_pins()
    assert {"meditron", "harness", "simple_evals"} <= set(every)
    assert "lm_eval/tasks/medbench_task/medqa_g.yaml" in every["harness"].sha256


HEAD = f'[a]\nrepo = "x/y"\ncommit = "{COMMIT}"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[a]\n", "a.repo is missing; it takes OWNER/NAME on GitHub"),
        ('[a]\nrepo = "x/y"\ncommit = "main"\n[a.sha256]\nf = "00"\n', "not 'main'"),
        (f'{HEAD}[a.sha256]\nf = "00"\n', "a.sha256.f takes a sha256"),
        (HEAD, "a.sha256 is missing; it takes a table that is not empty"),
        (f"{HEAD}[a.sha256]\n", "a.sha256 takes a table that is not empty"),
        (f'{HEAD}sha265 = "x"\n', "nearest: a.sha256"),
        (f'{HEAD}[a.sha256]\n"../f" = "{"0" * 64}"\n', "leads out"),
        (f'{HEAD}[a.sha256]\n"/etc/f" = "{"0" * 64}"\n', "leads out"),
        (HEAD.replace("x/y", "x") + f'[a.sha256]\nf = "{"0" * 64}"\n', "takes OWNER/NAME"),
        ("broken", "not valid TOML"),
    ],
)
def test_broken_pins_are_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "pins.toml").write_text(text)
    with pytest.raises(KitError, match=says):
        load_pins(tmp_path / "pins.toml")
