"""Fetching the models beside the base that comparisons need: found, missed, gated, left out."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "corpus"))
sys.path.insert(0, str(Path(__file__).parent.parent / "scoring"))
from fetched_world import C
from standin_files import lay_out

from corpus import origins
from corpus.store import Repo
from launch.cli import fetch as fetch_command
from launch.inputs import comparators, wanted
from launch.run import judged_benchmarks, recipe, site

Call = Callable[..., tuple[int, str, str]]


def compare_with(world: SimpleNamespace, name: str = "org/other") -> None:
    """Let the recipe compare with a model that lies in the mirror, on vignettes that are there."""
    lay_out(world.mirror / "hub", "model", "org/other", C, {
        "model.safetensors": b"others", "config.json": b"{}", "x.bin": b"a pickle"})  # fmt: skip
    vignettes = world.tmp / "vignettes.jsonl"
    vignettes.write_text(json.dumps({"id": "1", "prompt": "What now?"}) + "\n")
    given = world.recipe / "recipe.toml"
    text = given.read_text().replace('["pubmedqa"]', '["pubmedqa", "auto_moove_medgemma"]')
    given.write_text(f'{text}[judge]\nvignettes = "{vignettes}"\nmedgemma = "{name}"\n'
                     'base_url = "http://127.0.0.1:9/v1"\n'
                     f'pairs_prompt = "{recipe.RECIPES}/smoke/judged/pairs.toml"\n')  # fmt: skip


def test_a_comparator_is_fetched_found_and_missed_as_the_base_is(
    call: Call, world: SimpleNamespace, no_sockets: Callable[[], None]
) -> None:
    no_sockets()
    compare_with(world)
    assert call("fetch", world.recipe, "--mirror", world.mirror, "--only", "model")[0] == 0
    for command in (["run", world.recipe, "--dry-run"], ["doctor", "--recipe", world.recipe]):
        _, out, _ = call(*command)
        assert "org/other at main has not been fetched" in out
        assert "mfo fetch own --site laptop --only comparators" in out
    code, out, _ = call("fetch", world.recipe, "--mirror", world.mirror)
    assert (code, "comparator org/other" in " ".join(out.split())) == (0, True)
    place = site.load("laptop")
    chosen, said = wanted.freeze(recipe.load(str(world.recipe)), place, ["evaluate"])
    assert f"comparator of auto_moove_medgemma: org/other at {C}, as it was fetched" in said
    assert chosen.table("judge")["medgemma_revision"] == C
    (one,) = judged_benchmarks.comparators(chosen).values()
    found = comparators.folder(chosen, place, one)
    assert sorted(p.name for p in found.iterdir()) == ["config.json", "model.safetensors"]
    # The record's sha256 stands for the bytes: equal weights are seen without reading them again.
    twin = world.tmp / "twin"
    shutil.copytree(found, twin)
    given = recipe.with_settings(chosen, [("judge.medgemma", str(twin))])
    (other,) = judged_benchmarks.comparators(given).values()
    same = comparators.shards(chosen, place, one)
    assert comparators.shards(given, place, other) == same
    (twin / "model.safetensors").write_bytes(b"otherz")
    assert comparators.shards(given, place, other) != same
    (found / "model.safetensors").write_bytes(b"otherz")
    code, _, err = call("run", world.recipe, "--runs", world.tmp / "runs")
    assert (code, "org/other is missing or has changed" in err) == (2, True)


def test_without_vignettes_a_comparator_is_fetched_on_demand_alone(
    call: Call, world: SimpleNamespace
) -> None:
    compare_with(world)
    given = world.recipe / "recipe.toml"
    lines = [x for x in given.read_text().splitlines() if not x.startswith("vignettes")]
    given.write_text("\n".join(lines) + "\n")
    _, out, _ = call("fetch", world.recipe, "--mirror", world.mirror)
    assert "org/other (auto_moove_medgemma): not fetched, because without vignettes" in out
    assert not list(world.cache.rglob("models--org--other"))
    _, out, _ = call("doctor", "--recipe", world.recipe)
    assert "org/other" not in out
    code, _, _ = call("fetch", world.recipe, "--mirror", world.mirror, "--only", "comparators")
    assert (code, len(list(world.cache.rglob("models--org--other")))) == (0, 1)


@pytest.mark.parametrize("gated", [True, False])
def test_a_gated_comparator_is_one_error_with_what_to_do(
    call: Call, world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, gated: bool
) -> None:
    compare_with(world, "org/gated")

    class Closed(origins.Hub):
        def listing(self, repo: Repo, revision: str) -> origins.Listing:  # noqa: ARG002
            why = "403 Client Error" if gated else "Name or service not known"
            raise origins.UnreachableError(f"huggingface.co: {why}")

    monkeypatch.setattr(fetch_command, "origins", lambda *_, **__: [Closed()])
    code, _, err = call("fetch", world.recipe, "--only", "comparators")
    assert code == 1
    assert "org/gated (comparator) cannot be had" in err
    assert ("accept it at https://huggingface.co/org/gated, export HF_TOKEN" in err) == gated
    assert ("on a machine with a network" in err) != gated
