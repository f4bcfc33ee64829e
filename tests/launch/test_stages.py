"""A stage's inputs decide its outputs: its work can read nothing else, and reads all of them."""

import ast
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import KitError
from launch.run import recipe
from launch.run.folder import Run
from launch.run.identity import Place, as_json, bears_identity
from launch.stages import corpus, evaluate, execution, judge, train
from launch.stages.table import STAGES

STAGE_MODULES = {"corpus": corpus, "train": train, "evaluate": evaluate, "judge": judge}


def fields_read(source: str) -> set[str]:
    """Give the names read of `inputs` or `self`, outside the function that makes inputs."""
    tree = ast.parse(source)
    tree.body = [n for n in tree.body if getattr(n, "name", "") != "inputs"]
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("inputs", "self")
    }


@pytest.mark.parametrize("name", STAGES)
def test_every_field_of_a_stages_inputs_is_read_by_its_work(name: str) -> None:
    module = STAGE_MODULES[name]
    wanted = {one.name for one in fields(module.Inputs)}
    unread = wanted - fields_read(Path(str(module.__file__)).read_text())
    assert not unread


def test_a_field_that_nobody_reads_is_seen() -> None:
    source = (
        "def inputs(run):\n    return run.inputs\ndef execute(inputs, context):\n    inputs.a\n"
    )
    assert fields_read(source) == {"a"}


@pytest.mark.parametrize("name", STAGES)
def test_the_work_of_a_stage_does_not_get_the_run(name: str) -> None:
    tree = ast.parse(Path(str(STAGE_MODULES[name].__file__)).read_text())
    found = next(n for n in tree.body if getattr(n, "name", "") == "execute")
    assert isinstance(found, ast.FunctionDef)
    assert [a.arg for a in found.args.args] == ["inputs", "context"]


@pytest.mark.parametrize("name", ["corpus"])
def test_the_table_of_another_stage_cannot_be_read(name: str, new_run: Callable[..., Run]) -> None:
    found = STAGES[name].inputs(new_run())
    with pytest.raises(LookupError, match=r"\[train\] is not among"):
        found.recipe.table("train")


def test_a_narrowed_recipe_keeps_its_tables_and_loses_the_others() -> None:
    whole = recipe.load("gemma-3-27b")
    few = whole.only("eval", "model")
    assert few.table("eval") == whole.table("eval")
    assert few.title == whole.title
    with pytest.raises(LookupError):
        few.table("judge")


# --- what bears identity --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Small:
    rows: int
    names: tuple[str, ...] = ()
    more: dict[str, Any] | None = None
    file: Place[Path] = Path("/nowhere")


Small.__dataclass_fields__["file"].type = "Place[Path]"  # this module's annotations are not text


def test_places_and_what_is_left_out_bear_no_identity() -> None:
    assert as_json(Small(rows=1, file=Path("/a"))) == as_json(Small(rows=1, file=Path("/b")))
    assert as_json(Small(rows=1)) == {"rows": 1, "names": []}
    assert as_json(Small(rows=1, more={})) == {"rows": 1, "names": [], "more": {}}


@pytest.mark.parametrize("value", [Path("/a"), {1: "a"}, {"a"}, b"bytes", object()])
def test_what_json_does_not_know_raises(value: object) -> None:
    with pytest.raises(TypeError, match=r"inputs\.more"):
        as_json(Small(rows=1, more={"x": value} if not isinstance(value, dict) else value))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_the_json_of_inputs_is_what_is_read_back(value: Any) -> None:
    found = as_json({"x": value})
    assert json.loads(json.dumps(found)) == found == {"x": value}


def test_every_stage_has_something_that_decides_it() -> None:
    for module in STAGE_MODULES.values():
        assert any(bears_identity(one) for one in fields(module.Inputs))


def test_the_order_of_components_decides(
    new_run: Callable[..., Run], tmp_path: Path, corpus_file: Path
) -> None:
    (tmp_path / "other.jsonl").write_text(corpus_file.read_text())
    spec = tmp_path / "two.toml"

    def found(first: str, second: str) -> object:
        spec.write_text("".join(f"[components.{n}]\npath = '{n}.jsonl'\n" for n in (first, second)))
        run = new_run()
        run.spec["recipe"]["data"]["corpus"]["sources"] = str(spec)
        return as_json(corpus.inputs(run))

    assert found("rows", "other") == found("rows", "other") != found("other", "rows")


def test_a_stage_whose_corpus_is_gone_is_not_finished(
    new_run: Callable[..., Run], corpus_file: Path
) -> None:
    run = new_run()
    execution.execute(run, "corpus")
    assert execution.finished(run, "corpus")
    corpus_file.unlink()
    assert not execution.finished(run, "corpus")


def test_scores_of_a_file_that_was_replaced_meanwhile_are_refused() -> None:
    evaluate._unchanged("benchmark", {"medqa": "a"}, {"medqa": "a"})
    with pytest.raises(KitError, match="benchmark medqa changed"):
        evaluate._unchanged("benchmark", {"medqa": "a"}, {"medqa": "b"})
