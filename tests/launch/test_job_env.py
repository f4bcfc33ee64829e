"""What every stage's process gets: variables, and open files."""

import resource
import site as interpreter
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from launch.run import job_env, site

CHILD = """
import resource, sys
from launch.run import job_env
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
print(job_env.raise_open_files())
import subprocess
subprocess.run([sys.executable, "-c", "import resource;"
                "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "says", "then"),
    [
        (256, 2048, "open files: 2,048 are allowed, raised from 256", 2048),
        (2048, 2048, "open files: 2,048 are allowed", 2048),
    ],
)
def test_a_stage_opens_as_many_files_as_the_system_allows(
    soft: int, hard: int, says: str, then: int
) -> None:
    done = subprocess.run([sys.executable, "-c", CHILD, str(soft), str(hard)], check=True,
                          capture_output=True, text=True)  # fmt: skip
    assert done.stdout.splitlines() == [says, str(then)], "its children too"


def test_no_more_than_upstream_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    endless = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, endless))
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: asked.append(pair))
    assert "65,535 are allowed, raised from 1,024" in job_env.raise_open_files()
    assert asked == [(65_535, endless)]


def test_stages_use_no_packages_of_the_users_own_unless_the_kits_are_among_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    laptop = site.load("laptop")
    assert job_env.variables(laptop, "train")["PYTHONNOUSERSITE"] == "1"
    monkeypatch.setattr(interpreter, "getusersitepackages", lambda: str(tmp_path))
    found = SimpleNamespace(origin=str(tmp_path / "submitit" / "__init__.py"))
    monkeypatch.setattr(job_env, "find_spec", lambda _: found)
    assert "PYTHONNOUSERSITE" not in job_env.variables(laptop, "train")
    assert "used, because the kit's are among them" in job_env.describe(laptop)[0]
    image = site.load("clariden")  # an image brings its own
    assert job_env.variables(image, "train")["PYTHONNOUSERSITE"] == "1"


def test_the_sites_own_environment_wins_and_caches_lie_where_a_container_sees_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MFO_CACHE", "/scratch/cache")
    place = replace(site.load("clariden"), environment={"TRITON_CACHE_DIR": "/mine"})
    given = job_env.variables(place, "evaluate")
    assert given["TRITON_CACHE_DIR"] == "/mine"
    assert given["HF_DATASETS_CACHE"] == "/scratch/cache/datasets"
    assert given["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"
    assert "VLLM_WORKER_MULTIPROC_METHOD" not in job_env.variables(place, "train")
