"""What vLLM's log says of its end. The lines are as vLLM 0.30 printed them, shortened."""

from pathlib import Path

import pytest

from kit.errors import KitError
from launch.stages.server_log import explained, first_cause, hint

INSPECTED = """\
(APIServer pid=9) INFO 11-29 04:33:20 [api_utils.py:286] non-default args: {'model': '/m'}
(API pid=9) ERROR 11-29 04:34:39 [registry.py:1] Error in inspecting model architecture 'X'
(API pid=9) ERROR 11-29 04:34:39 [registry.py:1] Traceback (most recent call last):
(API pid=9) ERROR 11-29 04:34:39 [registry.py:1]     returned.check_returncode()
(API pid=9) ERROR 11-29 04:34:39 [registry.py:1] subprocess.CalledProcessError: Command '[]' \
returned non-zero exit status 1.
(API pid=9) ERROR 11-29 04:34:39 [registry.py:1] RuntimeError: Error raised in subprocess:
(API pid=9) ERROR 11-29 04:34:39 [registry.py:1]     from torchvision.transforms import f
(API pid=9) ERROR 11-29 04:34:39 [registry.py:1] ModuleNotFoundError: No module named 'torchvision'
(APIServer pid=9) pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
(APIServer pid=9)   Value error, Model architectures ['X'] failed to be inspected.
"""
MEMORY = """\
(EngineCore pid=7) ERROR 11-29 02:00:00 [core.py:1] EngineCore failed to start.
(EngineCore pid=7) ERROR 11-29 02:00:00 [core.py:1] Traceback (most recent call last):
(EngineCore pid=7) ERROR 11-29 02:00:00 [core.py:1] ValueError: Available memory on node 0 \
(19.44/21.21 GiB) is less than desired (0.92, 19.52 GiB) for the KV cache
(APIServer pid=6) RuntimeError: Engine core initialization failed. See root cause above.
"""
FLAG = """\
usage: vllm serve [model_tag] [options]
vllm: error: unrecognized arguments: --langage-model-only
"""


@pytest.mark.parametrize(
    ("log", "cause", "way"),
    [
        (INSPECTED, "ModuleNotFoundError: No module named 'torchvision'", "make serve-cpu"),
        (MEMORY, "ValueError: Available memory on node 0", "VLLM_CPU_KVCACHE_SPACE"),
        (FLAG, "unrecognized arguments: --langage-model-only", "install the pinned version"),
    ],
)
def test_the_cause_is_the_first_error_and_not_what_echoes_it(
    log: str, cause: str, way: str
) -> None:
    found = first_cause(log.splitlines())
    assert found.startswith(cause)
    assert way in hint(found)


def test_a_log_without_an_error_tells_none() -> None:
    assert first_cause(["INFO loading", "WARNING: an Error is near", "Killed"]) == ""
    assert hint("") == ""


def test_an_engine_inside_the_stage_is_explained_by_the_stages_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("ValueError: of an earlier model\n")
    echo = "RuntimeError: Engine core initialization failed. See root cause above."
    with pytest.raises(KitError, match="cannot be loaded") as caught, explained(log):
        with log.open("a") as file:
            file.write(MEMORY)
        raise KitError("The model cannot be loaded.", where="/m", cause=echo, fix="check it")
    assert caught.value.cause.startswith("ValueError: Available memory")
    assert "VLLM_CPU_KVCACHE_SPACE" in caught.value.fix
    # What names its own cause keeps it, and so does one whose log tells nothing.
    for cause in ("OSError: no such file", echo):
        with pytest.raises(KitError) as kept, explained(log):
            raise KitError("The model cannot be loaded.", cause=cause, fix="check it")
        assert (kept.value.cause, kept.value.fix) == (cause, "check it")
