"""The window: how long a response may be, as vLLM has it, with lm-eval's transformers model."""

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")
pytest.importorskip("torch")
from lm_eval.api.instance import Instance

from kit.errors import KitError
from launch.inputs.base_model import _texts
from launch.inputs.tiny import build_tiny
from launch.run import recipe
from scoring import models

PROMPTS = ["Which organ does Pelkavane act on?", "Is it?", "a " * 40]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = recipe.load("smoke").table("model")
    out = tmp_path_factory.mktemp("tiny")
    texts = _texts(Path(model["tokenizer_texts"]))
    return build_tiny(Path(model["config"]), Path(model["chat_template"]), texts, out, 42)


def load(folder: Path, window: int, **changes: Any) -> Any:
    given = {"backend": "hf", "batch_size": 2, "max_length": window, "dtype": "float32",
             "seed": 42, "device": "cpu", "log": lambda _: None, **changes}  # fmt: skip
    return models.load(folder, **given)


def generate(lm: Any, most: int) -> list[list[int]]:
    kwargs = {"until": [], "max_gen_toks": most, "do_sample": False, "temperature": 0.0}
    asked = [Instance("generate_until", {}, (p, dict(kwargs)), n) for n, p in enumerate(PROMPTS)]
    return [lm.tok_encode(text, add_special_tokens=False) for text in lm.generate_until(asked)]


def test_a_response_ends_where_the_window_is_full(tiny: Path) -> None:
    from lm_eval.models.huggingface import HFLM

    plain = HFLM(pretrained=str(tiny), device="cpu", dtype="float32", batch_size=2, max_length=256)
    free = generate(plain, 12)
    assert max(map(len, free)) > 6  # an untrained model does not end its turn by itself
    roomy = load(tiny, 256)
    assert generate(roomy, 12) == free
    assert roomy.max_length == 256

    # A window with room for 4 tokens behind the longest prompt: others have more, up to 12.
    longest = max(len(roomy.tok_encode(p)) for p in PROMPTS)
    tight = load(tiny, longest + 4)
    for short, whole, prompt in zip(generate(tight, 12), free, PROMPTS, strict=True):
        room = min(12, longest + 4 - len(roomy.tok_encode(prompt)))
        assert short == whole[:room]

    # The published lengths: 4,096 new tokens in a window of 4,096, here 64 in 64.
    with pytest.raises(AssertionError, match="must be less than model's maximum"):
        generate(HFLM(pretrained=str(tiny), device="cpu", dtype="float32", max_length=64), 64)
    assert all(len(tokens) <= 64 for tokens in generate(load(tiny, longest + 8), longest + 8))


def test_a_prompt_that_fills_the_window_has_no_response_and_is_counted(tiny: Path) -> None:
    said: list[str] = []
    lm = load(tiny, 16, log=said.append)
    replies = generate(lm, 4)
    rooms = [16 - len(lm.tok_encode(p)) for p in PROMPTS]
    assert [bool(r) for r in replies] == [room > 0 for room in rooms] == [True, True, False]
    assert said[-1].startswith("1 of 3 prompts fill the window of 16 tokens alone")


def test_a_backend_that_cannot_run_here_is_refused(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.setattr(models, "find_spec", lambda _: None)
    with pytest.raises(KitError, match="vLLM cannot generate here") as caught:
        load(tiny, 64, backend="vllm")
    assert "eval.backend=hf" in caught.value.fix
    said: list[str] = []
    load(tiny, 64, backend="auto", log=said.append)
    assert said[0] == "backend: transformers, because the device was named"
    with pytest.raises(KitError, match="no such folder of weights"):
        load(tiny / "nothing", 64)
