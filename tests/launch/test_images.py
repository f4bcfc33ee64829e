"""mfo image, and what sites, runs and bundles know of images."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from containers.spec import ROOM, load
from launch.run import site


def test_sites_name_the_files_that_export_writes() -> None:
    named = {"sqsh": "clariden", "sif": "vista"}
    for suffix, name in named.items():
        for role, image in site.load(name).images.items():
            assert role in load().images
            assert image.endswith(f"/mfo-{role}.{suffix}"), image


@pytest.mark.parametrize(("profile", "suffix"), [("clariden", ""), ("clariden-aei", "-aei")])
def test_edf_files_and_profiles_of_one_network_mode_agree(profile: str, suffix: str) -> None:
    own = site.load(profile)
    for role, image in own.images.items():
        edf = tomllib.loads((ROOM / "edf" / f"{role}{suffix}.toml").read_text())
        assert edf["image"] == image
        wanted = {k: v for k, v in own.edf["annotations"].items() if k in edf["annotations"]}
        assert edf["annotations"] == wanted
        assert edf["entrypoint"] == own.edf["entrypoint"]
        assert edf["env"].items() <= own.environment.items()
        assert edf["mounts"] == own.mounts


def test_check_offline_holds_and_says_what_it_left_out(
    call: Callable[..., tuple[int, str, str]],
) -> None:
    code, out, _ = call("image", "check", "--offline")
    assert code == 0
    assert "not held against the index" in out
    assert "not resolved against a registry" in out
    code, out, _ = call("image", "check", "--offline", "--json")
    assert all(f["holds"] for f in json.loads(out))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["build", "trian"], "known: train, eval"),
        (["build", "train", "--arch", "riscv"], "known: aarch64, x86_64"),
        (["fetch", "train", "--arch", "sparc", "--out", "x"], "known: aarch64, x86_64"),
        (["lock", "train", "--why", "x", "--python", "3.11"], "are for --out"),
        (["lock", "train", "--why", "x", "--kit"], "are for --out"),
        (["lock", "train", "--why", "x", "--out", "x"], "--out needs --kit"),
        (["pull", "ghcr.io/x/y:latest", "--out", "x.tar"], "is not pinned"),
    ],
)
def test_wrong_usage_is_one_message(
    call: Callable[..., tuple[int, str, str]], arguments: list[str], says: str
) -> None:
    code, _, err = call("image", *arguments)
    assert (code, says in err) == (2, True), err
    assert "Traceback" not in err


def test_without_an_engine_the_error_says_what_to_install(
    call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = call("image", "build", "train")
    assert code == 2
    assert "podman, buildah or docker is not installed here" in err
    assert "docs/images.md" in err


def test_a_kit_that_is_mounted_and_not_installed_knows_its_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from launch.run import folder as run

    installed = run.kit_state()

    def nothing(name: str) -> str:
        raise run.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(run.metadata, "version", nothing)
    assert run.kit_state() == installed
