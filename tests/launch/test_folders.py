"""Each door through which a folder of weights comes in: refused before a run is made."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scoring"))
from model_folders import CHAT_FAULTS, CONFIG, FAULTS, change, remove, whole

from kit.errors import KitError
from launch.inputs import folders
from launch.run import recipe

Call = Callable[..., tuple[int, str, str]]
Door = Callable[[Path, Path], list[object]]


def verify(folder: Path, home: Path) -> list[object]:
    return ["verify", folder, "--recipe", "smoke"]


def base(folder: Path, home: Path) -> list[object]:
    (home / "shape.json").write_text(json.dumps(CONFIG))
    return ["run", "smoke", "--set", "model.source=hub", "--set", f"model.base={folder}",
            "--set", f"model.shape={home}/shape.json", "--set", "model.chat_template="]  # fmt: skip


def judge(folder: Path, home: Path) -> list[object]:
    return ["run", "smoke", "--set", "judge.script=", "--set", f"judge.model={folder}"]


def comparator(folder: Path, home: Path) -> list[object]:
    return ["run", "gemma-3-27b", "--set", f"judge.medgemma={folder}",
            "--set", f"judge.vignettes={home}/v.jsonl"]  # fmt: skip


DOORS: dict[str, tuple[Door, str]] = {
    "verify": (verify, "the model that is scored"),
    "run, base": (base, "the base model"),
    "run, judge": (judge, "the judge"),
    "run, comparator": (comparator, "the comparator medgemma"),
}


#: One of each kind for the other doors: what is found is the same code's.
KINDS = ("gguf alone", "pickled", "cut", "no class", "an encoder", "no tokenizer",
         "tokenizer unknown", "tokenizer too large", "no template", "refuses")  # fmt: skip
CASES = [("verify", fault) for fault in (*FAULTS, *CHAT_FAULTS)]
CASES += [(door, fault) for door in DOORS if door != "verify" for fault in KINDS]


@pytest.mark.parametrize(("door", "fault"), CASES)
def test_each_fault_is_refused_at_each_door(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: str, fault: str
) -> None:
    monkeypatch.setenv("MFO_CACHE", str(tmp_path / "cache"))
    words, whose = DOORS[door]
    spoil, says, _ = {**FAULTS, **CHAT_FAULTS}[fault]
    folder = whole(tmp_path / "m")
    spoil(folder)
    code, out, err = call(*words(folder, tmp_path), "--runs", tmp_path / "runs")
    # A base model is held against the recipe first: a config that names nothing is said there.
    known = says in err and whose.removeprefix("the ") in err
    assert known or (door == "run, base" and "config" in fault + says + err), out + err
    assert code == 2
    assert "where: " in err
    assert "next:  " in err
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "cache").exists(), "nothing was built or loaded"


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("given", ["m.gguf", "nowhere", "m/config.json"])
def test_what_is_no_folder_is_refused_at_each_door(
    call: Call, tmp_path: Path, door: str, given: str
) -> None:
    whole(tmp_path / "m")
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    code, _, err = call(*DOORS[door][0](tmp_path / given, tmp_path), "--runs", tmp_path / "runs")
    assert code == 2
    assert "folder" in err
    assert str(tmp_path) in err
    assert "next:  " in err
    assert not (tmp_path / "runs").exists()


def chosen(*settings: tuple[str, object]) -> recipe.Recipe:
    return recipe.with_settings(recipe.load("smoke"), list(settings))


def test_a_template_is_asked_of_a_model_that_is_asked_in_turns(tmp_path: Path) -> None:
    folder = whole(tmp_path / "m")
    remove("chat_template.jinja")(folder)
    scored, choice = ("model.weights", str(folder)), ("eval.benchmarks", ["medqa"])
    bare = ("eval.chat_template", False)
    folders.check(chosen(scored, choice, bare, ("eval.base", False)), ["evaluate", "judge"])
    for settings in ([scored, bare], [scored, choice]):  # judged; in turns
        with pytest.raises(KitError, match="has no chat template"):
            folders.check(chosen(*settings, ("eval.base", False)), ["evaluate", "judge"])


def test_a_base_that_the_recipe_gives_a_template_needs_none(tmp_path: Path) -> None:
    folder, stages = whole(tmp_path / "m"), ["corpus", "train", "evaluate", "judge"]
    remove("chat_template.jinja")(folder)
    (tmp_path / "shape.json").write_text(json.dumps(CONFIG))
    hub = [("model.source", "hub"), ("model.base", str(folder)),
           ("model.shape", str(tmp_path / "shape.json"))]  # fmt: skip
    one = chosen(*hub)
    assert one.table("model")["chat_template"]
    folders.check(one, stages)
    model = {k: v for k, v in one.table("model").items() if k != "chat_template"}
    plain = recipe.Recipe(one.name, {**one.data, "model": model}, one.lineage, one.settings)
    with pytest.raises(KitError, match="base model has no chat template"):
        folders.check(plain, stages)


def test_a_name_of_the_hub_is_no_folder_and_a_path_is_no_name() -> None:
    assert list(folders.given(chosen(), ["train", "evaluate"])) == []
    hub = chosen(("model.source", "hub"), ("model.base", "google/gemma-3-27b-it"))
    assert list(folders.given(hub, ["train", "evaluate"])) == []
    path = chosen(("model.source", "hub"), ("model.base", "weights/gemma/27b"))
    with pytest.raises(KitError, match="neither a folder nor the name"):
        list(folders.given(path, ["train"]))


def test_another_model_is_said_to_be_another_one(tmp_path: Path) -> None:
    folder = whole(tmp_path / "m")
    (tmp_path / "shape.json").write_text(json.dumps(CONFIG))
    change("config.json", num_hidden_layers=2)(folder)
    one = chosen(("model.source", "hub"), ("model.base", str(folder)),
                 ("model.shape", str(tmp_path / "shape.json")))  # fmt: skip
    with pytest.raises(KitError, match="not the base model of recipe smoke: layers is 2"):
        folders.check(one, ["train"])
