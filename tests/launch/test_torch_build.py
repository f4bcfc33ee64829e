"""Which build of torch a machine gets, before anything is installed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kit.errors import KitError
from launch.plan import torch_build
from launch.plan.torch_build import CPU_INDEX, choose

ROOT = Path(__file__).parents[2]
Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """Pretend a machine: no GPU, Linux, nothing installed, PyPI's build found, no other index."""

    def pretend(*, gpu: str = "", system: str = "linux", known: tuple[str, ...] = ("2.13.0",),
                index: bool = False, there: str = "") -> None:  # fmt: skip
        monkeypatch.setattr(torch_build, "installed", lambda _: there)
        monkeypatch.setattr(torch_build, "nvidia", lambda: gpu)
        monkeypatch.setattr(sys, "platform", system)
        monkeypatch.setattr(torch_build, "versions_at_hand", lambda: set(known))
        monkeypatch.setattr(torch_build, "answers", lambda _: index)

    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    pretend()
    return pretend


def test_a_gpu_gets_cuda_and_nothing_else_does(machine: Machine) -> None:
    machine(gpu="/dev/nvidiactl", index=True)
    assert choose("", "2.13.0").arguments == ()
    assert "CUDA, because /dev/nvidiactl" in choose("", "2.13.0").build
    machine(index=True)
    assert choose("", "2.13.0").arguments == ("--extra-index-url", CPU_INDEX)
    machine(known=("2.13.0", "2.13.0+cpu"))
    assert choose("", "2.13.0").arguments == ()
    assert "its wheel at hand" in choose("", "2.13.0").build


def test_where_no_cpu_build_is_reached_the_cost_is_said(machine: Machine) -> None:
    machine(known=("2.13.0", "2.12.0+cpu"))
    chosen = choose("", "2.13.0")
    assert chosen.arguments == ()
    assert "does not answer" in chosen.build
    assert "several GB" in chosen.build
    machine(known=("2.12.0",))
    with pytest.raises(KitError, match=r"pip finds no torch 2\.13\.0 for Python") as caught:
        choose("", "2.13.0")
    assert "TORCH_INDEX" in caught.value.fix


def test_what_was_asked_for_wins(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(gpu="nvidia-smi")
    assert choose("https://x/whl/cu128", "2.13.0").arguments == (
        "--extra-index-url",
        "https://x/whl/cu128",
    )
    machine(index=True)
    assert choose("pypi", "2.13.0").arguments == ()
    machine(index=True, there="2.13.0+cpu")
    assert "installed already" in choose("pypi", "2.13.0").build
    assert "make clean" in choose("pypi", "2.13.0").other
    machine(index=True, system="darwin")
    assert choose("", "2.13.0").arguments == ()
    machine(index=True, known=("2.13.0",))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert choose("", "2.13.0").arguments == ()


def test_a_driver_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch_build, "gpus", lambda: {"count": 0})
    monkeypatch.setattr(torch_build, "DRIVER", (tmp_path / "nvidiactl",))
    assert torch_build.nvidia() == ""
    (tmp_path / "nvidiactl").touch()
    assert torch_build.nvidia() == str(tmp_path / "nvidiactl")
    monkeypatch.setattr(torch_build, "DRIVER", ())
    monkeypatch.setattr(torch_build, "gpus", lambda: {"count": 1})
    assert torch_build.nvidia() == "nvidia-smi"


def test_pip_is_asked_for_what_it_has_and_an_index_that_is_silent_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "torch-2.13.0+cpu-py3-none-any.whl").touch()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert torch_build.versions_at_hand() == {"2.13.0+cpu"}
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nothing"))
    assert torch_build.versions_at_hand() == set()
    assert not torch_build.answers("http://127.0.0.1:9/torch/")
    assert not torch_build.answers("no address")


def test_the_pin_is_the_projects_own() -> None:
    assert f'"torch=={torch_build.pinned()}"' in (ROOT / "pyproject.toml").read_text()


def fake_python(folder: Path, name: str, fits: bool) -> None:
    """Put a stand-in for an interpreter on the path: it says whether it fits, and logs the rest."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(
        "#!/bin/sh\n"
        f'case "$1" in -c) exit {0 if fits else 1};; --version) echo "Python 3.13.5";; '
        f'*) echo "{name} $*" >> "{folder}/said"; exit 1;; esac\n'
    )
    file.chmod(0o755)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_takes_a_python_that_fits_and_says_so_before_it_installs(tmp_path: Path) -> None:
    def make(*words: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
        return subprocess.run(
            ["make", "-C", str(ROOT), "setup", f"VENV={tmp_path}/venv", *words],
            env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip

    for name in ("python3", "python3.12", "python3.11"):
        fake_python(tmp_path / "bin", name, fits=False)
    done = make()
    assert done.returncode == 2
    assert "needs Python 3.11 or 3.12; python3 --version: Python 3.13.5" in done.stderr
    assert "next:  make setup PYTHON=" in done.stderr
    assert not (tmp_path / "bin" / "said").exists()
    fake_python(tmp_path / "bin", "python3.12", fits=True)
    make()
    assert (tmp_path / "bin" / "said").read_text().startswith("python3.12 -m venv")
    assert not (tmp_path / "venv").exists()
