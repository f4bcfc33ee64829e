"""Each recipe against the training file that upstream published: what differs, and why."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from real_files import real_files

from kit.files import read_toml
from launch.cli.recipes import PLANNED_AT, training_file
from launch.inputs import departures
from launch.inputs.departures import ABSENT, compare, flatten, published_file
from launch.run import recipe, site

Call = Callable[..., tuple[int, str, str]]
SIX = ("apertus-70b", "apertus-8b", "olmo-2-32b", "eurollm-22b", "eurollm-9b", "gemma-3-27b")
#: Apertus-70B's deepspeed_zero_3.json, value by value; upstream's name of its last key differs.
ZERO = {
    "zero_optimization": {
        "stage": 3, "overlap_comm": True, "reduce_scatter": True, "contiguous_gradients": True,
        "allgather_partitions": True, "allgather_bucket_size": 200_000_000,
        "reduce_bucket_size": 200_000_000, "stage3_prefetch_bucket_size": 200_000_000,
        "stage3_param_persistence_threshold": 100_000, "stage3_max_live_parameters": 10**9,
        "stage3_max_reuse_distance": 10**9, "sub_group_size": 10**9,
        "gather_16bit_weights_on_model_save": True,
    },
    "gradient_accumulation_steps": "auto", "train_micro_batch_size_per_gpu": "auto",
    "gradient_clipping": 1.0, "bf16": {"enabled": True},
}  # fmt: skip


def real(name: str) -> Path:
    """The real training file of a recipe, by the name that the recipe gives."""
    folder = real_files("upstream-files", "axolotl-f7ac033")
    return folder / Path(str(recipe.load(name).data["upstream_file"])).name


def theirs(name: str) -> dict[str, Any]:
    found = published_file(recipe.load(name), site.load("laptop"), real(name))
    return {**found, "deepspeed": ZERO} if "deepspeed" in found else found


def ours(one: recipe.Recipe) -> dict[str, Any]:
    return training_file(one, PLANNED_AT)


@pytest.mark.parametrize("name", SIX)
def test_every_difference_from_the_real_file_has_its_reason(name: str) -> None:
    assert set(SIX) == {n for n in recipe.known_recipes() if "upstream_file" in read_toml(
        recipe.RECIPES / n / "recipe.toml", n)}  # fmt: skip
    one = recipe.load(name)
    seen = compare(one, theirs(name), ours(one))
    assert not seen.unexplained, f"{name}: no reason for {', '.join(seen.unexplained)}"
    assert not seen.stale, f"{name}: a reason, but no difference: {', '.join(seen.stale)}"
    assert seen.equal > 20


@pytest.mark.parametrize("name", SIX)
def test_variants_have_reasons_for_what_they_change(name: str) -> None:
    for variant in recipe.fitting_variants(recipe.load(name)):
        one = recipe.load(f"{name}+{variant}")
        seen = compare(one, theirs(name), ours(one))
        assert not seen.unexplained, f"{one.name}: no reason for {', '.join(seen.unexplained)}"
        assert not seen.stale, f"{one.name}: a reason, but no difference: {', '.join(seen.stale)}"


@pytest.mark.parametrize("name", SIX)
def test_any_one_value_that_is_changed_is_named(name: str) -> None:
    """Every value of the training file in turn, whether or not it differs already."""
    one, real_one = recipe.load(name), theirs(name)
    config, run_own = ours(one), {"base_model", "plugins", "datasets.*.path", "output_dir",
                                  "dataset_prepared_path"}  # fmt: skip
    for key, value in flatten(config).items():
        if key in run_own or key.startswith(("wandb_", "plugins.")):
            continue  # the run's own, or a plugin: the next test
        changed = json.loads(json.dumps(config))
        place: Any = changed
        *tables, leaf = key.split(".")
        for table in tables:
            place = place[0] if table == "*" else place[table]
        place[leaf] = other(value)
        assert key in compare(one, real_one, changed).unexplained, f"{name}: {key}"
        del place[leaf]
        seen = compare(one, real_one, changed)
        assert key in (*seen.unexplained, *seen.stale), f"{name}: {key} taken away"


def other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value * 2 + 1
    return [*value, "x"] if isinstance(value, list) else f"{value}x"


def test_a_plugin_that_is_lost_or_added_is_named() -> None:
    one, real_one = recipe.load("olmo-2-32b"), theirs("olmo-2-32b")
    config = ours(one)
    plugins = config["plugins"]
    seen = compare(one, real_one, {**config, "plugins": plugins[1:]})
    assert seen.unexplained == (f"plugins.{plugins[0]}",)
    seen = compare(one, real_one, {**config, "plugins": [*plugins, "an.other.Plugin"]})
    assert seen.unexplained == ("plugins.an.other.Plugin",)
    seen = compare(one, real_one, {**config, "plugins": plugins[:-1]})
    assert seen.stale == (f"plugins.{plugins[-1]}",)


def test_a_value_changed_in_a_recipe_fails_by_name(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe's own file, with one line changed, and then one reason taken away."""
    shutil.copytree(recipe.RECIPES, tmp_path / "recipes")
    monkeypatch.setattr(recipe, "RECIPES", tmp_path / "recipes")
    command = ("recipe", "diff", "eurollm-22b", "--upstream-file", real("eurollm-22b"))
    code, out, _ = call(*command)
    assert (code, "NO REASON" in out) == (0, False)
    assert "flash_attention: true -> -" in out
    assert "the present name of flash_attention: true" in out
    file = tmp_path / "recipes" / "eurollm-22b" / "recipe.toml"
    text = file.read_text()
    file.write_text(text.replace("tf32 = false\n", ""))
    code, out, _ = call(*command)
    assert code == 1
    assert "tf32: differs, and nothing says why" in out
    assert "tf32: false -> -" in out
    assert "recipes/eurollm-22b/recipe.toml" in out
    file.write_text(f'{text}[departures]\nlearning_rate = "because"\n')
    code, out, _ = call(*command, "--json")
    assert code == 1
    said = json.loads(out)
    assert said["faults"] == ["learning_rate: has a reason, and does not differ"]
    assert said["departures"]["datasets.*.train_on_eos"] == {
        "upstream": ABSENT, "kit": "turn", "reason": "Axolotl's default, written out"}  # fmt: skip


def test_lists_of_tables_are_held_entry_by_entry() -> None:
    entries = [{"path": "a", "type": "x", "roles": {"user": ["u"]}}, {"path": "b", "type": "x"}]
    assert flatten({"datasets": entries, "plugins": ["p"], "lr": "1e-6"}) == {
        "datasets.*.path": ["a", "b"], "datasets.*.type": "x",
        "datasets.*.roles.user": [["u"], ABSENT], "plugins.p": True, "lr": "1e-6"}  # fmt: skip
    one = recipe.load("gemma-3-27b")
    config = ours(one)
    same = compare(one, config, {**config, "learning_rate": "1e-6", "val_set_size": 0.0})
    assert same.found == ()
    assert compare(one, config, {**config, "tf32": 0}).unexplained == ("tf32",), "0 is not false"


def test_the_fetched_file_is_read_and_what_is_none_is_refused(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MFO_CACHE", str(tmp_path / "cache"))
    code, _, err = call("recipe", "diff", "gemma-3-27b", "--upstream")
    assert code == 2
    assert "mfo fetch" in err
    for name in ("smoke", "smoke-eurollm"):
        code, _, err = call("recipe", "diff", name, "--upstream")
        assert code == 2
        assert "no training file for smoke" in err
    for words in (("recipe", "diff", "smoke"), ("recipe", "diff", "smoke", "smoke", "--upstream")):
        code, _, err = call(*words)
        assert code == 2
        assert "a second recipe or --upstream" in err
    for text, says in (("- a\n", "not a table of Axolotl keys"), ("a: [\n", "cannot be read")):
        (tmp_path / "x.yaml").write_text(text)
        code, _, err = call("recipe", "diff", "gemma-3-27b", "--upstream-file",
                            tmp_path / "x.yaml")  # fmt: skip
        assert code == 2
        assert says in err


def test_the_deepspeed_file_that_it_names_is_compared_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where both pinned files were fetched, ZeRO's values are held against the real ones."""
    files = {"a.yaml": yaml.safe_dump({"deepspeed": "$ROOT/zero.json"}), "zero": json.dumps(ZERO)}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(
        departures, "pinned_file",
        lambda _, table, __: tmp_path / ("a.yaml" if table == departures.TABLE else "zero"),
    )  # fmt: skip
    one, place = recipe.load("apertus-70b"), site.load("laptop")
    found = published_file(one, place)
    assert found["deepspeed"]["zero_optimization"]["stage"] == 3
    changed = json.loads(json.dumps(ours(one)))
    changed["deepspeed"]["zero_optimization"]["stage"] = 2
    assert "deepspeed.zero_optimization.stage" in compare(one, found, changed).unexplained
    assert "deepspeed.zero_optimization.stage" not in compare(one, found, ours(one)).unexplained
