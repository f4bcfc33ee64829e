"""Packages that do not fit end a stage with their names and pins, and no stack trace alone."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kit.errors import KitError
from kit.files import read_json
from launch.run.folder import Run
from launch.stages import execution, misfit
from launch.stages.table import STAGES


def raised(code: str) -> Exception:
    try:
        exec(code, {})  # noqa: S102 - the lines below
    except Exception as error:  # noqa: BLE001 - whichever it is
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("code", "says", "where"),
    [
        ("import vllm.no_such_part_of_it", "vllm does not fit: ModuleNotFoundError",
         "0.30.0 in the eval image"),
        ("import accelerate.no_such_part", "accelerate does not fit", "1.13.0 in the train image"),
        ("from lm_eval_standin import resolve_hf_chat_template", "lm-eval does not fit",
         "0.4.11 in the train image, 0.4.13 in the eval image"),
        ("import lm_eval_standin; lm_eval_standin.utils", "lm-eval does not fit: AttributeError",
         "lm-eval"),
        ("class EngineArgs:\n  def __init__(self, model): ...\nEngineArgs(swap_space=4)",
         "vllm does not fit: TypeError: EngineArgs.__init__() got an unexpected", "0.30.0"),
        ("def simple_evaluate(model): ...\nsimple_evaluate(model=1, log_samples=2)",
         "lm-eval does not fit: TypeError: simple_evaluate() got", "lm-eval 0."),
    ],
)  # fmt: skip
def test_an_error_at_a_seam_names_the_pin(
    monkeypatch: pytest.MonkeyPatch, code: str, says: str, where: str
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval_standin", ModuleType("lm_eval"))
    told = misfit.explain(raised(code))
    assert told is not None
    assert says in told.what
    assert where in told.where
    assert "python -m containers.seams --image" in told.fix


@pytest.mark.parametrize("code", ["import no_such_module_at_all", "1 + 'a'", "int('x')",
                                  "def mine(a): ...\nmine(b=1)", "None.x"])  # fmt: skip
def test_other_errors_stay_what_they_are(code: str) -> None:
    assert misfit.explain(raised(code)) is None


def test_a_stage_that_meets_one_says_so(
    new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = new_run()

    def execute(_inputs: object, _context: object) -> Any:
        raise ImportError("cannot import name 'x' from 'vllm.entrypoints'", name="vllm.entrypoints")

    monkeypatch.setitem(STAGES, "corpus", replace(STAGES["corpus"], execute=execute))
    with pytest.raises(KitError, match="vllm does not fit"):
        execution.execute(run, "corpus")
    status = read_json(Path(run.folder("corpus")) / "status") or {}
    assert "vllm does not fit" in str(status)
    assert "0.30.0 in the eval image" in capsys.readouterr().out
