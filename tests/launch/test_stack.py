"""What a recipe loads is known before anything is spent: in its list, its image, or refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from containers.spec import ROOM, load
from kit.errors import KitError
from launch.plan import doctor, stack
from launch.run import recipe
from launch.run.site import Site

OLMO = recipe.load("olmo-2-32b")
LAPTOP = Site("laptop", "A laptop")
CLUSTER = Site("x", "A cluster", nodes=8, processes_per_node=4, gpus_per_node=4,
               runtime="apptainer", images={"train": "", "eval": ""})  # fmt: skip


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("MFO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "train.sif").write_text("an image")
    return replace(CLUSTER, images={"train": str(tmp_path / "train.sif"), "eval": ""})


def state(site: Site, name: str = "olmo-2-32b") -> str:
    """What a run of this recipe is told: "", or the refusal."""
    try:
        stack.check(recipe.load(name), site)
    except KitError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("target", ["axolotl.integrations.cut_cross_entropy:CutCrossEntropyPlugin",
                                    "axolotl.integrations.liger:LigerPlugin",
                                    "launch.stages.axolotl_watch:WatchPlugin",
                                    "transformers:Olmo2ForCausalLM"])  # fmt: skip
def test_what_a_recipe_loads_is_in_the_images_list(tmp_path: Path, target: str) -> None:
    [good] = stack.listed(load())
    assert good.holds
    assert "recipes and variants" in good.words
    shutil.copyfile(ROOM / "images.toml", tmp_path / "images.toml")
    lines = (ROOM / "seams.toml").read_text().splitlines()
    kept = [line for line in lines if not line.startswith(f'"{target}"')]
    assert len(kept) == len(lines) - 1
    (tmp_path / "seams.toml").write_text("\n".join(kept))
    found = stack.listed(load(tmp_path / "images.toml"))
    wrong = {f.words for f in found if not f.holds}
    assert any(target.rpartition(":")[2] in words for words in wrong)
    assert all("recipe " in words for words in wrong)


def test_the_command_says_it_and_exits_with_1(
    call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = call("image", "check", "--offline")
    assert code == 0
    assert "not brought: cut-cross-entropy, needed by apertus-70b, eurollm-22b" in out
    assert "--without cut-cross-entropy" in out
    monkeypatch.setattr(stack.seams, "read", lambda _path: [])
    code, out, _ = call("image", "check", "--offline")
    assert code == 1
    assert "recipe olmo-2-32b loads the plugin axolotl.integrations.cut_cross_entropy" in out


def test_where_there_is_no_container_this_environment_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = state(LAPTOP)
    assert "trains with cut-cross-entropy, which is not where it would train" in said
    assert "4dfa522" in said
    assert "next:  pip install --no-deps cut_cross_entropy-" in said
    assert "mfo run olmo-2-32b+chunked-loss --site laptop" in said
    folder = tmp_path / "cut_cross_entropy"
    (folder / "transformers").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "is not where" in state(LAPTOP), "the package of the same name on PyPI"
    (folder / "transformers" / "patch.py").write_text("AXOLOTL_CCE_FORK = 1\n")
    assert state(LAPTOP) == "", "found, and not imported"


def test_an_image_is_believed_by_its_evidence(cluster: Site, tmp_path: Path) -> None:
    assert "nobody can say" in state(cluster)
    assert "mfo doctor --site x" in state(cluster)
    beside = tmp_path / "train.sif.provenance.json"
    fact = {"uri": "wheels/cut_cross_entropy-1-py3-none-any.whl",
            "annotations": {"package": "cut-cross-entropy", "version": "1"}}  # fmt: skip
    for facts, good in (([], False), ([fact], True)):
        definition = {"buildDefinition": {"resolvedDependencies": [{"uri": "kit"}, *facts]}}
        beside.write_text(json.dumps({"predicate": definition}))
        assert (state(cluster) == "") == good
    beside.write_text("cut")
    assert "no provenance" in state(cluster)


def test_an_image_is_believed_by_what_the_doctor_saw_in_it(cluster: Site, tmp_path: Path) -> None:
    seen = [{"package": "cut-cross-entropy", "target": "a", "state": state, "words": "a"}
            for state in ("ok", "absent")]  # fmt: skip
    stack.keep(cluster, "train", seen)
    assert "which is not where" in state(cluster), "one of its seams does not fit"
    stack.keep(cluster, "train", seen[:1])
    assert state(cluster) == ""
    (tmp_path / "train.sif").write_text("another image")
    assert "nobody can say" in state(cluster), "what was seen is not in this one"


def test_what_can_be_done_without_is_said_and_never_refused(cluster: Site) -> None:
    [said] = stack.check(recipe.load("apertus-8b"), cluster)
    assert "xielu: nobody has seen whether it is where this trains" in said
    assert "slower" in said
    assert stack.check(recipe.load("smoke-apertus-8b"), LAPTOP) == [], "a CUDA kernel"
    assert stack.check(recipe.load("gemma-3-27b"), cluster) == []


def test_the_variant_does_without(cluster: Site) -> None:
    for name in ("olmo-2-32b", "eurollm-22b", "eurollm-9b", "apertus-70b", "apertus-8b+fast"):
        assert state(cluster, name)
        assert state(cluster, f"{name}+chunked-loss") == ""
    assert state(cluster, "olmo-2-32b+fast+chunked-loss") == ""
    off = recipe.with_settings(OLMO, [("train.cut_cross_entropy", False)])
    assert stack.check(off, cluster) == []
    with pytest.raises(KitError, match=r"needs train\.cut_cross_entropy"):
        recipe.load("gemma-3-27b+chunked-loss")
    train = recipe.load("olmo-2-32b+chunked-loss").table("train")
    assert train["chunked_cross_entropy"] is True
    assert "plugins" not in train
    assert "cut_cross_entropy" not in train


def test_a_run_is_refused_before_it_is_made(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MFO_CACHE", str(tmp_path / "cache"))
    words = ("run", "olmo-2-32b", "--site", "isambard-ai", "--runs", tmp_path / "runs")
    code, _, err = call(*words)
    assert code == 2
    assert "cut-cross-entropy" in err
    assert "+chunked-loss --site isambard-ai" in err
    assert not (tmp_path / "runs").exists()
    code, out, _ = call(*words, "--dry-run")
    assert code == 0
    assert "NOT RUNNABLE HERE: nobody can say whether cut-cross-entropy" in out


def test_the_doctor_judges_what_was_seen() -> None:
    one = {"package": "vllm", "target": "t", "words": "vllm: it takes no swap (vllm 0.30.0)"}
    said = doctor.judge_seams("the eval image", [
        {**one, "state": "ok"}, {**one, "state": "missing"}, {**one, "state": "unseen"},
        {**one, "package": "ray", "state": "absent"},
    ])  # fmt: skip
    assert [c.state for c in said] == ["fail", "ok", "warn", "warn"]
    assert "the eval image: vllm: it takes no swap (vllm 0.30.0)" in said[0].words
    assert "ray is not there" in said[3].words
    assert stack.parse("INFO imports\n[1, 2]\nnoise") is None
    assert stack.parse('INFO\n[{"state": "ok"}]\n') == [{"state": "ok"}]
    [check] = doctor.stacked("olmo-2-32b", LAPTOP)
    assert (check.state, "+chunked-loss" in check.fix) == ("fail", True)
