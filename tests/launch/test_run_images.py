"""A run knows the container images that it runs in: their bytes, and what is inside."""

import json
import os
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from checks.card import _provenance
from containers import evidence
from containers.sidecars import sidecars
from kit.errors import KitError
from launch.cli import bundle
from launch.run import image, recipe, site
from launch.run.folder import PACKAGES, Run, create, open_run
from launch.run.identity import as_json
from launch.slurm import chain
from launch.stages import execution, judge, train

STATEMENT = json.dumps({"_type": evidence.STATEMENT, "subject": []})
BILL = {
    "bomFormat": "CycloneDX",
    "components": [
        {"name": "torch", "version": "2.13.0+cu130"},
        {"name": "lm-eval", "version": "0.4.13"},
        {"name": "unrelated", "version": "1"},
    ],
}


@pytest.fixture
def place(tmp_path: Path) -> site.Site:
    """A site with a container runtime and two small image files."""
    for name in ("train", "eval"):
        (tmp_path / f"{name}.sqsh").write_bytes(f"hsqs {name} {'x' * 1000}".encode())
    return replace(
        site.load("slurm-generic"),
        runtime="pyxis",
        images={name: str(tmp_path / f"{name}.sqsh") for name in ("train", "eval")},
        cache=str(tmp_path / "cache"),
    )


@pytest.fixture
def make(place: site.Site, corpus_file: Path, tmp_path: Path) -> Callable[..., Run]:
    def new(**changes: Any) -> Run:
        chosen = recipe.with_settings(
            recipe.load("gemma-3-27b"), [("corpus.sources", str(corpus_file))]
        )
        stages = ["corpus", "train", "evaluate", "judge"]
        return create(chosen, replace(place, **changes), stages, ["why"], tmp_path / "runs")

    return new


def attest(file: Path) -> None:
    """Put an image's evidence beside it, as an export does."""
    beside = sidecars(file)
    beside["provenance.json"].write_text(evidence.add_subject(STATEMENT, file))
    beside["cdx.json"].write_text(json.dumps(BILL))


def train_image(place: site.Site) -> Path:
    return Path(place.images["train"])


def inputs(run: Run, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(train.fetch, "base_model_identity", lambda _: {"source": "hub"})
    return as_json(train.inputs(run))


def test_a_replaced_image_is_another_input(
    make: Callable[..., Run], place: site.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = inputs(make(), monkeypatch)
    same = inputs(make(), monkeypatch)
    train_image(place).write_bytes(b"hsqs other bytes")
    after = inputs(make(), monkeypatch)
    assert before == same != after
    assert before["image"] != after["image"]


def test_the_versions_inside_are_the_runs_and_the_launchers_are_named_so(
    make: Callable[..., Run], place: site.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    attest(train_image(place))
    run = make()
    assert run.packages("train") == {"torch": "2.13.0+cu130", "lm_eval": "0.4.13"}
    assert run.packages("evaluate") == {}, "no evidence beside it: nothing is claimed"
    assert inputs(run, monkeypatch)["packages"] == {"torch": "2.13.0+cu130"}
    origin = judge.provenance(run)
    assert origin["packages"]["torch"] == "2.13.0+cu130"
    assert origin["launcher packages"]["python"] == run.spec["packages"]["python"]
    frozen = open_run(run.path).images["train"]
    assert frozen["sha256"] in origin["images"]["train"]
    assert any(frozen["sha256"][:12] in line for line in run.spec["decisions"])
    card = _provenance({"provenance": origin, "table": {"name": "t", "sha256": "0"}})
    assert frozen["sha256"] in card["Image (train)"]
    assert "2.13.0+cu130" in card["Packages"]


def test_evidence_is_kept_with_the_run_and_not_looked_for_again(
    make: Callable[..., Run], place: site.Site
) -> None:
    attest(train_image(place))
    run = make()
    for file in sidecars(train_image(place)).values():
        file.unlink()
    assert set(bundle._images(run)) == {
        "environment/image-train.cdx.json",
        "environment/image-train.provenance.json",
    }


def test_evidence_of_another_file_is_refused(make: Callable[..., Run], place: site.Site) -> None:
    attest(train_image(place))
    train_image(place).write_bytes(b"hsqs rebuilt, and its evidence was not")
    with pytest.raises(KitError, match="not the one that its provenance names") as caught:
        make()
    assert "mfo image export" in caught.value.fix


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"subject": 3}', '{"subject": [1, {}]}'])
def test_evidence_that_is_no_evidence_is_none_or_refused(
    make: Callable[..., Run], place: site.Site, text: str
) -> None:
    attest(train_image(place))
    sidecars(train_image(place))["provenance.json"].write_text(text)
    try:
        run = make()
    except KitError as error:
        assert "provenance" in error.what
    else:
        assert run.images["train"]["evidence"] == "none beside it"
        assert run.packages("train") == {}


def test_an_image_that_changes_while_the_run_is_queued_stops_it(
    make: Callable[..., Run], place: site.Site
) -> None:
    run = make()
    execution.execute(run, "corpus")
    file = train_image(place)
    os.utime(file, ns=(1, 1))  # touched, the same bytes
    image.check_unchanged(run.images, "train", run.site)
    file.write_bytes(b"hsqs rebuilt")
    with pytest.raises(KitError, match="was replaced since the run was made") as caught:
        execution.execute(run, "train")
    assert "mfo resume" in caught.value.fix
    assert not (run.folder("train") / "axolotl.yaml").exists(), "nothing was begun"
    with pytest.raises(KitError, match="was replaced"):
        chain._check_images(run, ["train"])
    file.unlink()  # inside a container it may be out of sight
    image.check_unchanged(run.images, "train", run.site)


def test_an_image_is_hashed_once(place: site.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    first = image.describe(place, ["train"], PACKAGES)
    monkeypatch.setattr(image, "sha256_file", lambda _: pytest.fail("hashed again"))
    assert image.describe(place, ["train"], PACKAGES) == first


def test_an_image_that_is_not_built_is_said_to_be_unknown(place: site.Site) -> None:
    train_image(place).unlink()
    found = image.describe(place, ["train"], PACKAGES)["train"]
    assert found["sha256"] == image.NOT_THERE
    assert image.NOT_THERE in image.lines({"train": found})[0]


def test_without_a_container_nothing_is_said(new_run: Callable[..., Run]) -> None:
    run = new_run()
    assert tomllib.loads((run.path / "run.toml").read_text())["images"] == "none"
    assert run.images == {}
    assert run.packages("train") == run.spec["packages"]


def test_a_run_of_an_older_kit_is_read_and_claims_nothing(make: Callable[..., Run]) -> None:
    run = make()
    del run.spec["images"]
    assert run.images["train"]["sha256"] == image.NOT_RECORDED
    assert image.deciding(run.images, "train") is None, "its stages stay finished"
    assert image.NOT_RECORDED in judge.provenance(run)["images"]["train"]
