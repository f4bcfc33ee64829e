"""The architecture twins: the model's own class, exact sizes, its turns; ZeRO-3 for real (slow)."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("torch")

from kit.errors import KitError
from launch.inputs import dims
from launch.inputs.base_model import _texts
from launch.inputs.tiny import build_tiny
from launch.run import recipe
from launch.stages.train import _gathered

TURNS = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Good day."},
    {"role": "user", "content": "Bye"},
]
ABOUT = "<|developer_start|>Deliberation: disabled\nTool Capabilities: disabled<|developer_end|>"
APERTUS = (
    "<s>" + ABOUT + "<|user_start|>Hello<|user_end|><|assistant_start|>"
    "Good day.<|assistant_end|><|user_start|>Bye<|user_end|><|assistant_start|>"
)
TWINS = {
    "smoke-apertus-70b": APERTUS,
    "smoke-apertus-8b": APERTUS,
    "smoke-olmo-2-32b": "<|endoftext|><|user|>\nHello\n<|assistant|>\nGood day.<|endoftext|>\n"
    "<|user|>\nBye\n<|assistant|>\n",
    "smoke-eurollm": "<s><|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nGood day."
    "<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
}


def build(name: str, out: Path) -> Path:
    model = recipe.load(name).table("model")
    texts = _texts(Path(model["tokenizer_texts"]))
    return build_tiny(Path(model["config"]), Path(model["chat_template"]), texts, out, 42)


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_is_of_its_models_class_size_and_turns(name: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    one, folder = recipe.load(name), build(name, tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert type(model).__name__ == one.table("model")["architecture"]
    assert model.num_parameters() == dims.of(one).parameters
    assert any(type(m).__name__ == dims.of(one).wrap for m in model.modules())
    text = tokenizer.apply_chat_template(TURNS, tokenize=False, add_generation_prompt=True)
    assert text == TWINS[name]
    odd = "naïve 漢字 \n\t x"
    assert tokenizer.decode(tokenizer(odd).input_ids, skip_special_tokens=True) == odd
    assert len(tokenizer) == model.config.vocab_size
    dims.check_folder(one, folder)


def test_the_smoke_models_size_is_counted_exactly() -> None:
    assert dims.of(recipe.load("smoke")).parameters == 935_952


def test_weights_that_were_not_gathered_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KitError, match="no gathered weights"):
        _gathered(tmp_path, tmp_path / "merged")
    (tmp_path / "model.safetensors").write_bytes(b"x" * 100)  # DeepSpeed's empty placeholder
    with pytest.raises(KitError, match="no gathered weights"):
        _gathered(tmp_path, tmp_path / "merged")
    (tmp_path / "model.safetensors").write_bytes(b"x" * 10_000)
    _gathered(tmp_path, tmp_path / "merged")
    assert (tmp_path / "merged" / "model.safetensors").is_file()


#: What a run of each leaves that only its own sharding leaves.
SHARDED = {
    "smoke-apertus-70b": "checkpoint-*/global_step*/*optim_states.pt",  # DeepSpeed ZeRO-3
    "smoke-apertus-8b": "checkpoint-*/pytorch_model_fsdp_0/*.distcp",
    "smoke-olmo-2-32b": "checkpoint-*/pytorch_model_fsdp_0/*.distcp",
    "smoke-eurollm": "checkpoint-*/pytorch_model_fsdp_0/*.distcp",
}


@pytest.mark.slow  # one to two minutes each, and two more where DeepSpeed builds its operator
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", SHARDED)
def test_a_twin_trains_merges_loads_by_its_card_and_is_judged(name: str, tmp_path: Path) -> None:
    pytest.importorskip("axolotl")
    if name == "smoke-apertus-70b":
        pytest.importorskip("deepspeed")

    def mfo(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "launch", *arguments, "--runs", str(tmp_path)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    mfo("run", name)
    run = next(tmp_path.glob("*/run.toml")).parent
    verdict: dict[str, Any] = json.loads((run / "verdict.json").read_text())
    assert verdict["verdict"] == "reproduced"
    assert list((run / "train" / "output").glob(SHARDED[name]))
    if name == "smoke-eurollm":  # its base ends texts with </s>: the training file says otherwise
        tokenizer = json.loads((run / "train" / "model" / "tokenizer_config.json").read_text())
        assert tokenizer["eos_token"] == "<|im_end|>"  # noqa: S105

    mfo("card")
    (snippet,) = re.findall(r"```python\n(.*?)```", (run / "README.md").read_text(), re.DOTALL)
    said = subprocess.run(
        [sys.executable, "-c", snippet], cwd=run, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr[-3000:]
    assert "It acts on the" in said.stdout, "what its corpus taught it to say"
