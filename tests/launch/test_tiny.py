"""The tiny twin: the same bytes each time, Gemma's turns, and any text in and out."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("torch")

from kit.errors import KitError
from launch.inputs.tiny import build_tiny

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "recipes" / "smoke"
TEXTS = ["Which organ does Ravfodine act on?\nIt acts on the liver. Final Answer: (B)"] * 9


def digests(folder: Path) -> dict[str, str]:
    return {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.is_file()
    }


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tiny") / "base"
    return build_tiny(SMOKE / "model.json", SMOKE / "chat_template.jinja", TEXTS, out, 42)


def test_the_same_bytes_in_another_process(tiny: Path, tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from launch.inputs.tiny import build_tiny; import torch;"
        "torch.rand(3); torch.set_num_threads(1);"
        f"build_tiny(Path({str(SMOKE / 'model.json')!r}),"
        f"Path({str(SMOKE / 'chat_template.jinja')!r}), {TEXTS!r},"
        f"Path({str(tmp_path / 'x')!r}), 42)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True)
    assert digests(tmp_path / "x") == digests(tiny)


def test_the_seed_decides_the_weights_and_nothing_else(tiny: Path, tmp_path: Path) -> None:
    other = build_tiny(
        SMOKE / "model.json", SMOKE / "chat_template.jinja", TEXTS, tmp_path / "other", 43
    )
    before, after = digests(tiny), digests(other)
    assert {name for name in before if before[name] != after[name]} == {"model.safetensors"}
    # Nothing half-built is left beside it.
    assert [p.name for p in tmp_path.iterdir()] == ["other"]


def test_it_loads_as_the_real_base_does(tiny: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    assert type(model).__name__ == "Gemma3ForConditionalGeneration"
    assert 500_000 < model.num_parameters() < 2_000_000
    assert len(tokenizer) == model.config.text_config.vocab_size
    # Gemma's own ids for the first four.
    assert tokenizer.convert_tokens_to_ids(["<pad>", "<eos>", "<bos>", "<unk>"]) == [0, 1, 2, 3]
    end = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert model.generation_config.eos_token_id == [1, end]
    assert model.config.image_token_index == tokenizer.convert_tokens_to_ids("<image_soft_token>")
    assert "Ravfodine" in tokenizer.decode(tokenizer("Ravfodine").input_ids)


@pytest.mark.parametrize(
    "text",
    [
        "Beta-blockers (β₁) at 37 °C; naïve T-cells, 漢字 and \N{PILL}",
        "  two  blanks,\n\ttabs and\r\nlines ",
        "\x00\x7f bytes without a piece",
    ],
)
def test_any_text_comes_back(tiny: Path, text: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    ids = tokenizer(text).input_ids
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_turns_are_gemmas(tiny: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": " Hello "},
        {"role": "assistant", "content": "Good day."},
        {"role": "user", "content": "Bye"},
    ]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<bos><start_of_turn>user\nBe brief.\n\nHello<end_of_turn>\n"
        "<start_of_turn>model\nGood day.<end_of_turn>\n"
        "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"
    )


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda c: c.update(architectures=["Gemma9"]), "no class Gemma9"),
        (lambda c: c["text_config"].update(vocab_size=200), "vocab_size is 200"),
        (lambda c: c.pop("tokenizer"), "cannot be used"),
    ],
)
def test_bad_config_is_one_clear_error(tmp_path: Path, change: Any, what: str) -> None:
    config = json.loads((SMOKE / "model.json").read_text())
    change(config)
    path = tmp_path / "model.json"
    path.write_text(json.dumps(config))
    with pytest.raises(KitError, match=what) as caught:
        build_tiny(path, SMOKE / "chat_template.jinja", TEXTS, tmp_path / "out", 1)
    assert caught.value.where == str(path)
    assert caught.value.fix
    assert not (tmp_path / "out").exists()
