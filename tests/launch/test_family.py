"""The six models' recipes: every published value, their variants, and Axolotl's own opinion."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from checks.tables import load_table
from kit.errors import KitError
from kit.files import read_toml
from launch.cli.recipes import training_file
from launch.inputs import dims
from launch.run import recipe
from launch.run.recipe_keys import flat
from launch.run.site import Site
from launch.stages.train import accumulation

ALL = {  # the paper's training table: what all six share
    "sequence_len": 4096, "sample_packing": True, "optimizer": "adamw_torch_fused",
    "lr_scheduler": "cosine", "attn_implementation": "flash_attention_2", "seed": 42,
    "data_seed": 42, "val_set_size": 0, "logging_steps": 1,
}  # fmt: skip
FSDP = {
    "offload_params": False, "cpu_ram_efficient_loading": True,
    "auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "state_dict_type": "SHARDED_STATE_DICT",
    "reshard_after_forward": True, "activation_checkpointing": True,
}  # fmt: skip
COLUMNS = (
    "learning_rate", "num_epochs", "micro_batch_size", "gradient_accumulation_steps",
    "weight_decay", "adam_beta2", "warmup_ratio", "max_grad_norm", "tf32", "bf16",
)  # fmt: skip
PAPER: dict[str, tuple[Any, ...]] = {  # None: not set
    "apertus-70b": (1e-5, 1, 4, 1, None, None, 0.1, None, False, "auto"),
    "apertus-8b": (2e-5, 1, 8, 1, 0.1, 0.99, 0.1, 1.0, True, True),
    "olmo-2-32b": (5e-6, 2, 1, 8, 0.0, None, 0.03, 1.0, False, True),
    "eurollm-22b": (1e-5, 2, 1, 8, 0.01, None, 0.1, 1.0, False, True),
    "eurollm-9b": (1e-5, 1, 4, 2, 0.01, None, 0.1, 1.0, False, True),
    "gemma-3-27b": (1e-6, 2, 1, 8, 0.1, 0.95, 0.1, 1.0, False, True),
}
WRAPPED = {
    "apertus-8b": "ApertusDecoderLayer", "olmo-2-32b": "Olmo2DecoderLayer",
    "eurollm-22b": "LlamaDecoderLayer", "eurollm-9b": "LlamaDecoderLayer",
    "gemma-3-27b": "Gemma3DecoderLayer",
}  # fmt: skip
CCE = "axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin"
CLUSTER = Site("x", "x", nodes=8, processes_per_node=4, gpus_per_node=4)
NODE = {"bf16": True, "fp8": False, "tf32": True, "n_gpu": 4, "n_node": 8,
        "compute_capability": "sm_90"}  # fmt: skip


@pytest.mark.parametrize("name", PAPER)
def test_every_published_hyperparameter(name: str) -> None:
    train = recipe.load(name).table("train")
    assert tuple(train.get(key) for key in COLUMNS) == PAPER[name]
    assert {key: train.get(key) for key in ALL} == ALL
    if name == "apertus-70b":
        assert "fsdp_config" not in train
        zero = train["deepspeed"]["zero_optimization"]
        assert (zero["stage"], zero["reduce_bucket_size"]) == (3, 2e8)
        assert zero["stage3_param_persistence_threshold"] == 1e5
        assert train["gradient_checkpointing"] is True
    else:
        wrapped = {"transformer_layer_cls_to_wrap": WRAPPED[name]}
        assert train["fsdp_config"] == FSDP | wrapped
        assert dims.of(recipe.load(name)).wrap == WRAPPED[name]
    has_plugin = name not in ("apertus-8b", "gemma-3-27b")
    assert train.get("plugins") == ([CCE] if has_plugin else None)
    assert (train.get("chat_template") == "chatml") == name.startswith("eurollm")


@pytest.mark.parametrize("name", PAPER)
def test_the_published_shape_needs_the_published_accumulation(name: str) -> None:
    one = recipe.load(name)
    assert accumulation(one, CLUSTER) == one.table("train")["gradient_accumulation_steps"]
    assert one.table("shape")["global_batch"] == (128 if name == "apertus-70b" else 256)


@pytest.mark.parametrize("name", PAPER)
def test_each_has_its_published_column(name: str) -> None:
    one = recipe.load(name)
    table = load_table(one.table("published")["table"])
    row = table.model(one.table("published")["model"])
    for name in one.table("eval")["benchmarks"]:
        assert table.score(name, row.name) is not None
    assert one.title == row.name


@pytest.mark.parametrize(
    ("name", "parameters"),  # as the model cards and the hub print them
    [("gemma-3-27b", 27_432_406_640), ("apertus-8b", 8.05e9), ("apertus-70b", 70.6e9),
     ("olmo-2-32b", 32.2e9), ("eurollm-9b", 9.15e9)],
)  # fmt: skip
def test_the_shapes_give_the_published_numbers_of_parameters(name: str, parameters: float) -> None:
    assert dims.of(recipe.load(name)).parameters == pytest.approx(parameters, rel=2e-3)


def without_reasons(name: str) -> dict[str, Any]:
    """A recipe's values; why they differ from upstream's is another matter."""
    return flat({k: v for k, v in recipe.load(name).data.items() if k != "departures"})


def test_what_two_models_differ_in_is_all_that_a_recipe_says() -> None:
    own = read_toml(recipe.RECIPES / "olmo-2-32b" / "recipe.toml", "olmo")
    said = {k for k in flat(own) if "." in k}
    gemma, olmo = (without_reasons(n) for n in ("gemma-3-27b", "olmo-2-32b"))
    differing = {k for k in olmo if olmo[k] != gemma.get(k)} - {"title", "upstream_file"}
    # What the parts bring (the plugin) and nothing else is beside the recipe's own words.
    alone = {"eval.chat_template"}  # upstream's script for Gemma, and Gemma's recipe says so
    assert {k for k in differing if "plugin" not in k and "cut_cross" not in k} - alone <= said


def test_variants_change_what_they_say_and_nothing_else(
    call: Callable[..., tuple[int, str, str]],
) -> None:
    gemma = without_reasons("gemma-3-27b")

    def changed(variant: str) -> dict[str, Any]:
        other = without_reasons(f"gemma-3-27b+{variant}")
        return {k: other.get(k) for k in gemma | other if other.get(k) != gemma.get(k)}

    assert changed("paper") == {}
    assert changed("verbatim") == {"train.eot_tokens": None, "train.freeze_mm_modules": None}
    assert changed("no-moove") == {
        "corpus.components": ["curated_qa", "synthetic_curated_qa", "guidelines_qa"]
    }
    assert changed("fp32-master") == {
        "train.plugins": ["launch.stages.axolotl_master.MasterWeightsPlugin"]
    }
    once = "launch.stages.axolotl_once.CheckpointOncePlugin"
    assert changed("checkpoint-once") == {"train.plugins": [once]}
    fast = changed("fast")
    assert fast.pop("train.plugins") == [once, "axolotl.integrations.liger.LigerPlugin"]
    assert fast
    assert all(k.startswith("train.liger_") for k in fast), "nothing that changes the mathematics"
    both = recipe.load("olmo-2-32b+fast+fp32-master").table("train")["plugins"]
    assert len(both) == 4
    assert both[0] == CCE, "a variant adds its plugin to the published one"
    with pytest.raises(KitError, match="nearest: fast"):
        recipe.load("gemma-3-27b+fsat")
    with pytest.raises(KitError, match="no variant 'fast'"):
        recipe.load("apertus-70b+fast")
    listed = call("recipe", "show", "apertus-70b", "--json")[1]
    assert {"paper", "no-moove"} <= set(json.loads(listed)["variants"])
    for variant in ("fp32-master", "checkpoint-once"):
        assert variant in recipe.fitting_variants(recipe.load("gemma-3-27b"))
        assert variant not in json.loads(listed)["variants"]
    with pytest.raises(KitError, match=r"fp32-master needs train\.fsdp_config"):
        recipe.load("apertus-70b+fp32-master")


def write(folder: Path, text: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "recipe.toml").write_text(text)
    return str(folder)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('extends = "gemma-3-27b"\nunset = ["train.nope"]\n', "which is not set"),
        ('extends = "gemma-3-27b"\nunset = "train.eot_tokens"\n', "unset takes a list"),
        ('extends = "gemma-3-27b"\nwith = ["fdsp2"]\n', "nearest: fsdp2"),
        ('extends = "gemma-3-27b"\n[append]\n"train.seed" = [1]\n', "append takes lists"),
        ('extends = "gemma-3-27b"\n[append]\n"train.plugins" = "x"\n', "plugins takes a list"),
        ('extends = "gemma-3-27b"\n[published]\ngpu_hours = "9"\n', "a number >= 0"),
    ],
)
def test_a_recipe_that_cannot_be_put_together(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(KitError, match=says):
        recipe.load(write(tmp_path / "mine", text))


def test_a_folder_of_another_model_is_refused(tmp_path: Path) -> None:
    gemma = recipe.load("gemma-3-27b")
    config = json.loads(Path(gemma.table("model")["shape"]).read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    dims.check_folder(gemma, tmp_path)
    del config["text_config"]["vocab_size"]  # as Gemma's own config leaves it out
    (tmp_path / "config.json").write_text(json.dumps(config))
    dims.check_folder(gemma, tmp_path)
    for key, value, says in (
        ("num_hidden_layers", 34, "layers is 34, the recipe has 62"),
        ("vocab_size", 262144, "vocabulary is 262144"),
    ):
        wrong = json.loads(json.dumps(config))
        wrong["text_config"][key] = value
        (tmp_path / "config.json").write_text(json.dumps(wrong))
        with pytest.raises(KitError, match=says):
            dims.check_folder(gemma, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"architectures": ["LlamaFor"]}))
    with pytest.raises(KitError, match="architecture is 'LlamaFor'"):
        dims.check_folder(gemma, tmp_path)
    for cut in ('{"architectures": ["X"]', "[]", "{}"):
        (tmp_path / "config.json").write_text(cut)
        with pytest.raises(KitError, match="no model folder"):
            dims.check_folder(gemma, tmp_path)


def test_a_wrong_folder_is_refused_before_a_run_is_made(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "base").mkdir()
    config = json.loads(Path(recipe.load("apertus-8b").table("model")["shape"]).read_text())
    (tmp_path / "base" / "config.json").write_text(json.dumps(config))
    code, _, err = call("run", "gemma-3-27b", "--set", f"model.base={tmp_path}/base", "--set",
                        "shape.gpus=0", "--set", "shape.global_batch=2", "--set",
                        "eval.tasks=kit", "--set", 'eval.benchmarks=["medqa"]',
                        "--corpus", recipe.RECIPES / "smoke" / "corpus.toml",
                        "--benchmarks", recipe.RECIPES / "smoke" / "benchmarks",
                        "--runs", tmp_path / "runs")  # fmt: skip
    assert code == 2
    assert "not the base model of recipe gemma-3-27b" in err
    assert not (tmp_path / "runs").exists()


def test_ablations_reach_the_corpus(call: Callable[..., tuple[int, str, str]]) -> None:
    from corpus.sources import load

    spec = Path(recipe.load("smoke").table("corpus")["sources"])
    only = recipe.load("smoke+no-guidelines").table("corpus")["components"]
    assert [s.name for s in load(spec, only)] == only
    code, out, _ = call("run", "smoke", "--dry-run", "--set", "corpus.components=['guide']")
    assert code == 0, out
    code, _, err = call("run", "smoke", "--set", "corpus.components=['guide']")
    assert code == 2
    assert "no component 'guide'" in err
    assert "guidelines_qa" in err


def test_the_commands(call: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = call("recipes", "--json")
    found = {r["name"]: r for r in json.loads(out)}
    assert code == 0
    assert set(PAPER) <= set(found)
    assert {n for n, r in found.items() if r["sharding"] != "FSDP2" and r["gpus"]} == {
        "apertus-70b"
    }
    assert {n: r["reported_gpu_hours"] for n, r in found.items() if r["reported_gpu_hours"]} == {
        "apertus-70b": 213.0, "olmo-2-32b": 178.0, "eurollm-22b": 120.0
    }  # fmt: skip
    code, out, _ = call("recipe", "diff", "smoke", "smoke+fast")
    assert "train.chunked_cross_entropy" in out
    assert "2 of" in out
    assert call("recipe", "diff", "smoke", "smoke+paper")[1].endswith("are the same\n")
    code, out, _ = call("recipe", "show", "apertus-70b", "--axolotl", "--json")
    assert json.loads(out)["deepspeed"]["zero_optimization"]["stage"] == 3
    code, _, err = call("recipe", "show", "apertus-70")
    assert code == 2
    assert "nearest: apertus-70b" in err


def check(config: dict[str, Any]) -> Any:
    """Hold a training file against Axolotl's own schema, plugins and all."""
    from axolotl.integrations.base import PluginManager
    from axolotl.utils.config import prepare_plugins, validate_config
    from axolotl.utils.dict import DictDefault

    PluginManager._instance = None
    # The kit's own plugins add no keys, and would change accelerate for the tests that follow.
    plugins = [p for p in config.get("plugins", []) if not p.startswith("launch.")]
    config = {k: v for k, v in config.items() if k != "plugins"}
    config |= {"plugins": plugins} if plugins else {}
    prepare_plugins(DictDefault(config))
    return validate_config(
        DictDefault(config), capabilities=NODE, env_capabilities={"torch_version": "2.13.0"}
    )


@pytest.mark.slow  # half a minute: importing Axolotl
@pytest.mark.filterwarnings("ignore")
def test_axolotl_accepts_every_recipe_and_variant() -> None:
    pytest.importorskip("axolotl")
    for base in recipe.known_recipes():
        for name in (base, *(f"{base}+{v}" for v in recipe.fitting_variants(recipe.load(base)))):
            config = training_file(recipe.load(name), "clariden")
            checked = check(config)
            if not recipe.load(name).table("shape")["gpus"]:
                plugins = " ".join(config.get("plugins", []))
                assert "liger" not in plugins and "cut_cross" not in plugins, "Triton: no CPU"
            # Axolotl drops what it does not know without a word; data_seed is kept as published.
            assert {k for k in config if k not in checked} - {"plugins"} == {"data_seed"}, name
            for key in config.get("fsdp_config", {}):
                assert key in checked["fsdp_config"], name
    config = training_file(recipe.load("olmo-2-32b"), "clariden")
    with pytest.raises(ValueError, match="does not support chunked"):
        check(config | {"chunked_cross_entropy": True})
    assert "lerning_rate" not in check(config | {"lerning_rate": 1}), "dropped, so it can be seen"
