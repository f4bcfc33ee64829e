"""Recipes resolve, overrides are seen, and a mistyped key never passes silently."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import yaml

from checks import answers, judge_statistics
from corpus import rule
from kit.errors import KitError
from kit.files import read_toml
from launch.run import recipe
from launch.run.recipe_keys import PATHS, TABLES
from launch.run.recipe_schema import RecipeFile, Tables
from launch.run.site import Site
from launch.stages.train import accumulation, axolotl_config, to_yaml
from scoring import harness, judge_protocol, models


def test_one_step_is_256_sequences_at_the_published_shape_and_at_others() -> None:
    gemma = recipe.load("gemma-3-27b")
    cluster = Site("x", "x", nodes=8, processes_per_node=4, gpus_per_node=4)
    assert accumulation(gemma, cluster) == gemma.table("train")["gradient_accumulation_steps"]
    assert accumulation(gemma, Site("x", "x", nodes=2, processes_per_node=4)) == 32
    with pytest.raises(KitError, match="256 packed sequences"):
        accumulation(gemma, Site("x", "x", nodes=3, processes_per_node=4))


def flat(table: dict, prefix: str = "") -> dict:
    out = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        out |= flat(value, name + ".") if isinstance(value, dict) else {name: value}
    return out


def test_smoke_differs_from_gemma_only_where_its_list_says() -> None:
    own = read_toml(recipe.RECIPES / "smoke" / "recipe.toml", "smoke")
    assert own["extends"] == "gemma-3-27b"
    listed = {k for k in flat(own) if k not in ("extends", "title")}
    smoke, gemma = flat(recipe.load("smoke").data), flat(recipe.load("gemma-3-27b").data)
    changed = {k for k in smoke if k != "title" and smoke[k] != gemma.get(k)}
    assert changed <= listed
    # Everything that makes training what it is stays Gemma's.
    for key in ("optimizer", "lr_scheduler", "sample_packing", "fsdp_version", "freeze_mm_modules",
                "datasets", "fsdp_config.state_dict_type", "fsdp_config.reshard_after_forward",
                "fsdp_config.transformer_layer_cls_to_wrap", "adam_beta2", "max_grad_norm",
                "auto_resume_from_checkpoints", "eot_tokens"):  # fmt: skip
        assert f"train.{key}" not in listed
        assert smoke[f"train.{key}"] == gemma[f"train.{key}"]
    assert smoke["model.architecture"] == gemma["model.architecture"]
    assert len(listed) < 40, "a short list"


@pytest.mark.parametrize(
    ("setting", "nearest"),
    [
        ("train.lerning_rate=1", "train.learning_rate"),
        ("eval.limt=8", "eval.limit"),
        ("evl.limit=8", "eval.limit"),
        ("train.fsdp_config.reshard=1", "train.fsdp_config"),
        ("modle.seed=1", "model.seed"),
    ],
)
def test_an_unknown_key_names_the_nearest(setting: str, nearest: str) -> None:
    with pytest.raises(KitError, match="unknown key") as error:
        recipe.with_settings(recipe.load("gemma-3-27b"), [recipe.parse_setting(setting)])
    assert nearest in str(error.value)


@pytest.mark.parametrize(
    "setting",
    ["eval.limit=many", "eval.limit=-1", "eval.limit=true", "train.learning_rate=fast",
     "train.sample_packing=1", "eval.benchmarks=medqa", "eval.limit"],
)  # fmt: skip
def test_a_value_of_the_wrong_type_is_refused(setting: str) -> None:
    with pytest.raises(KitError):
        recipe.with_settings(recipe.load("gemma-3-27b"), [recipe.parse_setting(setting)])


def test_settings_reach_axolotls_file_and_zero_stays_a_number(tmp_path: Path) -> None:
    chosen = recipe.with_settings(
        recipe.load("gemma-3-27b"),
        [("train.learning_rate", 0), ("train.fsdp_config.reshard_after_forward", False)],
    )
    site = Site("x", "x", nodes=8, processes_per_node=4, gpus_per_node=4)
    config = axolotl_config(
        chosen, site, base="base", train_file=tmp_path / "t.jsonl", folder=tmp_path, name="n"
    )
    read = yaml.safe_load(to_yaml(config))
    assert read["learning_rate"] == 0.0
    assert isinstance(read["learning_rate"], float)
    assert read["fsdp_config"]["reshard_after_forward"] is False
    assert read["datasets"][0]["path"] == str(tmp_path / "t.jsonl")
    # The recipe itself is not touched by its own rendering.
    assert chosen.table("train")["datasets"][0]["path"] == "corpus/train.jsonl"


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(KitError, match="gemma-3-27b"):
        recipe.load("gema-3-27b")


def write(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "recipe.toml").write_text(text)
    return folder


def test_a_users_own_recipe_by_path(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine", 'extends = "gemma-3-27b"\n[train]\nlearning_rate = 2e-6\n')
    assert recipe.load(str(mine)).table("train")["learning_rate"] == 2e-6


def test_a_recipe_that_extends_itself_or_is_broken_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "circle"
    write(folder, f'extends = "{folder}"\n')
    with pytest.raises(KitError, match="extends itself"):
        recipe.load(str(folder))
    write(folder, "title = \n")
    with pytest.raises(KitError, match=r"not valid TOML.*line 1"):
        recipe.load(str(folder))
    write(folder, 'extends = "gemma-3-27b"\n[eval]\nlimt = 3\n')
    with pytest.raises(KitError, match="limit"):
        recipe.load(str(folder))
    write(folder, "[model]\n")
    with pytest.raises(KitError, match="no table"):
        recipe.load(str(folder))


def test_a_broken_recipe_of_ones_own_does_not_hide_the_others(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(recipe.RECIPES, tmp_path / "recipes")
    monkeypatch.setattr(recipe, "RECIPES", tmp_path / "recipes")
    for name, text in (
        ("no-corpus", 'extends = "gemma-3-27b"\n[corpus]\nsources = "gone.jsonl"\n'),
        ("no-toml", "extends = \n"),
    ):
        (tmp_path / "recipes" / name).mkdir()
        (tmp_path / "recipes" / name / "recipe.toml").write_text(text)
    code, out, _ = call("recipes")
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert code == 0
    assert "63 to 247" in lines["gemma-3-27b"]
    assert "not planned" in lines["no-corpus"]
    assert "gone.jsonl" in lines["no-corpus"]
    assert "not valid TOML" in lines["no-toml"]
    problems = {r["name"]: r["problem"] for r in json.loads(call("recipes", "--json")[1])}
    assert {name for name, problem in problems.items() if problem} == {"no-corpus", "no-toml"}


def test_the_words_of_the_schema_are_those_that_the_kit_knows() -> None:
    """A word that the code knows and the schema refuses could not be asked for, and vice versa."""
    known = {
        "eval.tasks": harness.WORDINGS,
        "eval.extraction": answers.EXTRACTIONS,
        "eval.pubmedqa": harness.SPLITS,
        "eval.backend": models.BACKENDS,
        "judge.protocol": judge_statistics.PROTOCOLS,
        "judge.order": judge_statistics.ORDERS,
        "judge.bos": judge_protocol.BOS,
        "judge.special_tokens": judge_protocol.SPECIAL_TOKENS,
        "corpus.decontaminate": ("off", *rule.MODES),
    }
    schema = msgspec.json.schema(RecipeFile)["$defs"]
    for key, words in known.items():
        table, _, leaf = key.partition(".")
        assert set(schema[table.capitalize()]["properties"][leaf]["enum"]) == set(words), key


def test_the_names_of_tables_and_paths_are_the_schemas() -> None:
    assert Tables.__struct_fields__ == TABLES
    described = msgspec.json.schema(RecipeFile)["$defs"]
    paths = {
        f"{table.lower()}.{key}"
        for table in map(str.capitalize, TABLES[:-1])
        for key, value in described[table]["properties"].items()
        if value.get("description", "").startswith("a path")
    }
    assert paths | {"train.config"} == set(PATHS)
