"""Any decoder that transformers knows: counted on its class, planned as far as it can be."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kit.errors import KitError
from launch.inputs import base_model as fetch
from launch.inputs import dims
from launch.plan import fit as plan
from launch.plan import memory as plan_memory
from launch.run import recipe, site
from launch.stages.train import axolotl_config, say_dtype

SMALL = {"num_hidden_layers": 3, "hidden_size": 64, "num_attention_heads": 4, "vocab_size": 96,
         "num_key_value_heads": 2, "intermediate_size": 96, "head_dim": 16}  # fmt: skip


def config(kind: str, **more: Any) -> dict[str, Any]:
    return {"model_type": kind, "architectures": ["X"], **SMALL, **more}


def folder(path: Path, told: dict[str, Any], **files: str) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(told))
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text)
    return path


@pytest.mark.parametrize("kind", sorted(set(dims.FAMILIES) - {"gemma3"}))
def test_formulas_and_classes_count_alike(kind: str) -> None:
    pytest.importorskip("transformers")
    tied = kind.startswith("gemma")
    told = config(kind, tie_word_embeddings=tied)
    formula, counted = dims.parse(told), dims.by_class(told)
    for name in ("parameters", "text", "layer", "matrices", "wrap", "head", "kv_heads"):
        assert getattr(formula, name) == getattr(counted, name), name


@pytest.mark.parametrize("kind", ["qwen3", "mistral", "phi3", "gpt2", "gpt_neox", "smollm3"])
def test_a_type_without_a_formula_is_counted_on_its_class(kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    own = {"gpt2": {"n_layer": 3, "n_embd": 64, "n_head": 4}}.get(kind, {})
    told = {"model_type": kind, "architectures": ["X"], "pad_token_id": 0, **(own or SMALL)}
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(**told))
    found = dims.parse(told)
    assert found.parameters == model.num_parameters()
    assert sum(type(m).__name__ == found.wrap for m in model.modules()) == found.layers == 3
    assert found.note == ""
    shape = plan_memory.Setup("fsdp2", 2, 1, 1, 512)
    assert plan_memory.memory(found, shape).peak > 0


def test_experts_count_as_many_as_a_token_meets() -> None:
    pytest.importorskip("transformers")
    one, all_ = (
        dims.parse(config("mixtral", num_local_experts=8, num_experts_per_tok=n)) for n in (1, 8)
    )
    assert one.parameters == all_.parameters
    experts = 8 * 3 * 64 * 96
    assert all_.matrices - one.matrices == experts * 7 // 8


def test_without_transformers_llamas_formula_stands_in_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from launch.inputs import dims_class

    monkeypatch.setattr(dims_class, "find_spec", lambda _: None)
    found = dims.parse(config("qwen3"))
    assert "not installed" in found.note
    assert found.layers == 3


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (config("lama"), "has no model_type 'lama'"),
        ({"model_type": "mamba", "architectures": ["X"]}, "num_attention_heads"),
    ],
)
def test_what_cannot_be_planned_is_said_and_the_run_goes_on(
    tmp_path: Path, told: dict[str, Any], says: str
) -> None:
    pytest.importorskip("transformers")
    base = folder(tmp_path / "base", told)
    one = recipe.with_settings(
        recipe.load("gemma-3-27b"), [("model.shape", ""), ("model.base", str(base))]
    )
    with pytest.raises(KitError) as error:
        dims.of(one)
    assert says in error.value.cause
    (line,) = plan.guard(one, site.load("clariden"))
    assert line.startswith("memory: not planned")


def test_a_recipe_without_a_shape_takes_its_folders_own(tmp_path: Path) -> None:
    base = folder(tmp_path / "base", config("gemma3_text", tie_word_embeddings=True))
    one = recipe.load("gemma-3-27b")
    other = recipe.with_settings(one, [("model.base", str(base))])
    with pytest.raises(KitError, match="is not the base model") as error:
        dims.check_folder(other, base)
    assert "--set model.shape=" in error.value.fix
    other = recipe.with_settings(other, [("model.shape", "")])
    dims.check_folder(other, base)
    assert dims.of(other).layers == 3
    train = other.data["train"]
    del train["fsdp_config"]["transformer_layer_cls_to_wrap"]
    made = axolotl_config(other, replace(site.load("laptop"), processes_per_node=2), base="b",
                          train_file=tmp_path, folder=tmp_path, name="n")  # fmt: skip
    assert made["fsdp_config"]["transformer_layer_cls_to_wrap"] == "Gemma3DecoderLayer"


def test_a_base_without_a_chat_template_is_refused_or_given_the_recipes(tmp_path: Path) -> None:
    told = config("gemma3_text", architectures=["Gemma3ForCausalLM"])
    base = folder(tmp_path / "base", told, tokenizer_config__json="{}", model__safetensors="w")
    given = [("model.base", str(base)), ("model.shape", "")]
    one = recipe.with_settings(recipe.load("pocket-gemma"), given)
    without = recipe.with_settings(one, [("model.chat_template", "")])
    with pytest.raises(KitError, match="no chat template"):
        dims.check_folder(without, base)
    dims.check_folder(one, base)
    place = replace(site.load("laptop"), cache=str(tmp_path / "cache"))
    ready = fetch.base_model(one, place)
    assert dims.has_template(ready)
    assert (ready / "model.safetensors").read_text() == "w"
    assert not dims.has_template(base), "the base itself stays as it was"
    assert fetch.base_model(one, place) == ready
    (base / "chat_template.jinja").write_text("own")
    assert fetch.base_model(one, place) == base.resolve(), "a base's own template wins"


def test_a_gguf_file_is_no_base_model(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    one = recipe.with_settings(recipe.load("pocket"), [("model.base", str(file))])
    with pytest.raises(KitError, match="is a file, and a model is a folder") as error:
        fetch.base_model_path(one, site.load("laptop"))
    assert "GGUF" in error.value.cause
    assert "bench.real_weights" in error.value.fix


def test_a_merged_models_config_names_the_dtype_of_its_weights(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {"format": "pt"}, "w": {"dtype": "BF16"}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    told = {"dtype": "float32", "text_config": {"dtype": "float32", "layers": 3}, "x": 1}
    (tmp_path / "config.json").write_text(json.dumps(told))
    say_dtype(tmp_path)
    found = json.loads((tmp_path / "config.json").read_text())
    assert found == {"dtype": "bfloat16", "text_config": {"dtype": "bfloat16", "layers": 3}, "x": 1}
