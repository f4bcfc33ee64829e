"""Sites: the kit's and the user's own."""

from pathlib import Path

import pytest

from kit.errors import KitError
from launch.run import site


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "mfo" / "sites"
    folder.mkdir(parents=True)
    return folder


def test_laptop_needs_nothing() -> None:
    laptop = site.load("laptop")
    assert (laptop.scheduler, laptop.world_size, laptop.gpus_per_node) == ("local", 2, 0)


def test_an_unknown_site_names_the_nearest() -> None:
    with pytest.raises(KitError, match="laptop"):
        site.load("labtop")


def test_a_users_own_site_wins(own: Path) -> None:
    (own / "laptop.toml").write_text("processes_per_node = 4\n")
    assert site.load("laptop").world_size == 4


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nods = 2\n", "nodes"),
        ('nodes = "two"\n', "nodes takes a whole number >= 0"),
        ("nodes = \n", "TOML"),
        ('scheduler = "pbs"\n', "scheduler takes local or slurm, not 'pbs'"),
        ("[edf]\nwritable = 1\n[evidence]\nnodes = 'sure'\n", "evidence.nodes takes documented"),
        ('setup = ["x", 3]\n', r"setup\[1\] takes text, not 3"),
        ("nodes = -1\n", "whole number >= 0"),
        ("[time_min]\ntrian = 60\n", "time_min.trian; nearest: train"),
        ("[images]\ntraining = 'x.sqsh'\n", "images.training; nearest: train"),
        ("[pythons]\neval = 'python'\n", "pythons.eval; nearest: evaluate"),
    ],
)
def test_a_wrong_profile_is_named(own: Path, text: str, says: str) -> None:
    (own / "mine.toml").write_text(text)
    with pytest.raises(KitError, match=says):
        site.load("mine")


def test_the_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MFO_CACHE", str(tmp_path))
    assert site.load("laptop").cache_path == tmp_path
