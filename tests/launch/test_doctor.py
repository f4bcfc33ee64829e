"""mfo doctor: each thing that it looks at can be found wrong."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from realslurm import RealSlurm

from launch.plan import bandwidth, doctor
from launch.plan.node_probe import probe
from launch.run import site

NODE: dict[str, Any] = {
    "node": "n1", "time": 100.0, "machine": "aarch64", "python": "3.12.3",
    "modules": {"submitit": True, "torch": True, "axolotl": True, "lm_eval": False},
    "cores": 288, "open_files": 65536, "gpus": {"count": 4, "driver": "590.1"},
    "folders": {"/scratch": {"free": 10**13, "mb_s": 900}},
    "tokens": {"HF_TOKEN": True, "WANDB_API_KEY": True},
}  # fmt: skip


def judged(*nodes: dict[str, Any], expected: int | None = None) -> list[str]:
    gh200 = replace(site.load("slurm-generic"), gpus_per_node=4)
    checks = doctor.judge(gh200, expected or len(nodes), list(nodes), (99.0, 101.0))
    return [c.words for c in checks if c.state != "ok"]


def test_good_nodes_are_good() -> None:
    assert judged(NODE, {**NODE, "node": "n2"}) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"gpus": {"count": 3, "driver": "590.1"}}, "3 GPUs of 4"),
        ({"modules": {**NODE["modules"], "submitit": False}}, "without submitit"),
        ({"open_files": 1024}, "at most 1024 open files"),
        ({"folders": {"/scratch": {"error": "Read-only file system"}}}, "Read-only file system"),
        ({"folders": {"/scratch": {"free": 10**9, "mb_s": 900}}}, "1 GiB free"),
        ({"folders": {"/scratch": {"free": 10**13, "mb_s": 3}}}, "3 MB/s"),
        ({"time": 200.0}, "clock is +99 s off"),
        ({"machine": "x86_64"}, "differ in machine"),
        ({"selftest": {"error": "there is no /opt/mfo"}}, "did not test itself: there is no"),
        (
            {"selftest": {"results": [{"name": "gpu", "state": "fail", "words": "driver 535"}]}},
            "n2: image, gpu: driver 535",
        ),
        (
            {"selftest": {"results": [{"name": "gpu", "state": "skip", "words": "no GPU"}]}},
            "n2: image, gpu: no GPU",
        ),
    ],
)
def test_each_fault_of_one_node_is_named(change: dict[str, Any], says: str) -> None:
    words = judged(NODE, {**NODE, "node": "n2", **change})
    assert any(says in line for line in words), words


def test_a_node_that_does_not_answer() -> None:
    assert judged(NODE, expected=2) == ["only 1 of 2 nodes answered"]


def test_a_probe_holds_no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_planted")
    said = probe([str(tmp_path)])
    assert said["tokens"]["HF_TOKEN"] is True
    assert "hf_planted" not in str(said)
    assert said["folders"][str(tmp_path)]["mb_s"] > 0
    assert not list(tmp_path.iterdir())


@pytest.mark.slurm
def test_on_real_nodes_one_with_a_read_only_scratch(
    slurm: RealSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if slurm.mode != "ns":
        pytest.skip("a mount of one node's own needs namespaces, so root")
    monkeypatch.setenv("MFO_CACHE", str(tmp_path / "cache"))
    place = replace(site.load("slurm-generic"), scratch=str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    assert [c for c in doctor.look(place, 4)[0] if c.state == "fail"] == []
    outer = slurm.processes["n3"].pid
    inner = subprocess.run(["pgrep", "-P", str(outer)], capture_output=True, text=True).stdout
    subprocess.run(
        ["nsenter", "-t", inner.split()[0], "-m", "mount", "-t", "tmpfs", "-o", "ro", "none",
         str(tmp_path / "scratch")], check=True,
    )  # fmt: skip
    try:
        failed = [c.words for c in doctor.look(place, 4)[0] if c.state == "fail"]
    finally:
        slurm.kill_node("n3")
    assert failed == [f"n3: {tmp_path}/scratch cannot be written: Read-only file system"]


@pytest.mark.parametrize(
    ("seen", "state", "says"),
    [
        ({"backend": "nccl", "gb_s": 91.0}, "ok", "reference is 91.04"),
        ({"backend": "nccl", "gb_s": 60.0}, "warn", "is slow"),
        ({"backend": "gloo", "gb_s": 99.0}, "fail", "found no GPU"),
    ],
)
def test_the_all_reduce_is_held_against_the_sites_reference(
    seen: dict[str, Any], state: str, says: str
) -> None:
    check = doctor.judge_allreduce(site.load("clariden"), {"ranks": 32, "bytes": 1 << 30, **seen})
    assert check.state == state
    assert says in check.words


def test_the_bus_bandwidth_is_that_of_nccl_tests() -> None:
    # nccl-tests, doc/PERFORMANCE.md: busbw = algbw x 2 (n - 1) / n.
    assert bandwidth.bus_bandwidth(10**9, 2, 0.1) == pytest.approx(10.0)
    assert bandwidth.bus_bandwidth(10**9, 32, 0.1) == pytest.approx(19.375)


@pytest.mark.slurm
def test_ranks_of_two_real_nodes_sum(
    slurm: RealSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("MFO_CACHE", str(tmp_path / "cache"))
    checks = doctor.on_nodes(site.load("slurm-generic"), 2)
    summed = [c for c in checks if "all-reduce" in c.words]
    assert [c.state for c in summed] == ["ok"], checks
    assert "over 2 ranks (gloo)" in summed[0].words


@pytest.mark.slurm
def test_ranks_that_cannot_sum_are_said(
    slurm: RealSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("MFO_CACHE", str(tmp_path / "cache"))
    place = replace(site.load("slurm-generic"), environment={"GLOO_SOCKET_IFNAME": "no-such-card"})
    failed = [c.words for c in doctor.on_nodes(place, 2) if c.state == "fail"]
    assert any("cannot sum" in words for words in failed), failed


def test_what_was_not_fetched_is_named_with_the_command(
    call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MFO_CACHE", str(tmp_path))
    code, out, _ = call("doctor", "--recipe", "gemma-3-27b", "--json")
    said = {one["next"]: one for one in json.loads(out) if one["state"] == "fail"}
    assert code == 1
    assert "mfo fetch gemma-3-27b --site laptop" in said
    code, out, _ = call("doctor", "--recipe", "smoke", "--json")
    assert not any("mfo fetch" in one["next"] for one in json.loads(out))


def test_a_node_in_another_image_says_so(tmp_path: Path) -> None:
    assert probe([str(tmp_path)])["selftest"] == {}
    said = probe([str(tmp_path)], "train")["selftest"]
    assert "not an image of this kit" in said["error"]
