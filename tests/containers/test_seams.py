"""The seams: one list, held against the kit's calls, the recipes, the locks and real packages."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from stacks import serve_python, the_lock_s

from containers import seams
from containers.seams import Seam
from containers.spec import ROOM, load

ROOT = ROOM.parent
LISTED = seams.read()
TARGETS = {seam.target for seam in LISTED}
#: What runs inside an image; the rest of the kit runs where `mfo` is called.
INSIDE = [
    *(ROOT / "scoring").glob("*.py"), *(ROOT / "launch" / "stages").glob("*.py"),
    *(ROOT / "launch" / "slurm").glob("*.py"), *(ROOT / "launch" / "run").glob("*.py"),
    ROOT / "launch" / "inputs" / "tiny.py", ROOT / "launch" / "plan" / "bandwidth.py",
]  # fmt: skip


# --- the list against the kit's own files ---------------------------------------------------------
def modules() -> dict[str, str]:
    """Give the modules of every package that the spec itself pins: import name -> package."""
    pinned = {name for image in load().images.values() for name in image.pins}
    listed = {seam.target.split(":")[0].split(".")[0]: seam.package for seam in LISTED}
    return {module: package for module, package in listed.items() if package in pinned}


def imported(source: str, heads: set[str]) -> set[str]:
    """Give what a file imports of some packages: "module" or "module:name"."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}:{alias.name}" for alias in node.names}
    return {one for one in found if one.replace(":", ".").split(".")[0] in heads}


def unlisted(one: str) -> bool:
    """Whether no seam says that this is imported."""
    plain = one.replace(":", ".")
    names = {target.replace(":", ".") for target in TARGETS}
    return not any(name == plain or name.startswith(f"{plain}.") for name in names)


def test_every_import_of_a_pinned_package_is_listed() -> None:
    heads = set(modules())
    assert {"torch", "axolotl", "vllm", "lm_eval", "deepspeed", "openai"} <= heads
    for file in INSIDE:
        lacking = {one for one in imported(file.read_text(), heads) if unlisted(one)}
        assert not lacking, f"{file.relative_to(ROOT)}: add {lacking} to containers/seams.toml"
    planted = imported("from lm_eval.models.huggingface import HFLM, NEW\nimport os", heads)
    assert {one for one in planted if unlisted(one)} == {"lm_eval.models.huggingface:NEW"}


def keywords(call: ast.Call, tree: ast.AST) -> set[str]:
    """Give the names of a call's keyword arguments; **NAME is a table of the same file."""
    named = {word.arg for word in call.keywords if word.arg}
    for word in (w.value for w in call.keywords if w.arg is None):
        assert isinstance(word, ast.Name), f"** of {ast.unparse(word)} cannot be held"
        [table] = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, (ast.Assign, ast.AnnAssign))
            and word.id in {ast.unparse(t) for t in getattr(node, "targets", [node])} | {
                ast.unparse(getattr(node, "target", node))}
        ]  # fmt: skip
        named |= set(ast.literal_eval(table))
    return named


def given(source: str, seam: Seam) -> set[str]:
    """Give the arguments that a file gives by name where it calls a seam."""
    tree = ast.parse(source)
    name = seam.called or seam.target.replace(":", ".").split(".")[-1]
    calls = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call)
        and f".{ast.unparse(node.func)}".endswith(f".{name}")
    ]  # fmt: skip
    assert calls, f"{seam.by} does not call {name}"
    return set().union(*(keywords(call, tree) for call in calls))


CALLED = [seam for seam in LISTED if seam.by and not seam.flags]


@pytest.mark.parametrize("seam", CALLED, ids=lambda seam: seam.target)
def test_the_arguments_are_those_of_the_kit_s_own_call(seam: Seam) -> None:
    there = given((ROOT / seam.by).read_text(), seam)
    assert there == {a.removeprefix("+") for a in seam.arguments}, (
        f"{seam.by} and seams.toml differ"
    )


def test_a_call_that_says_more_than_the_list_is_seen() -> None:
    seam = Seam("lm-eval", "lm_eval.models.vllm_causallms:VLLM", ("eval",), by="x")
    assert given("MORE = {'swap_space': 4}\nVLLM(dtype='auto', **MORE)\n", seam) == {
        "dtype", "swap_space"
    }  # fmt: skip
    with pytest.raises(AssertionError, match="does not call VLLM"):
        given("LLM(a=1)\n", seam)


def test_the_server_s_options_are_those_of_the_kit_s_command() -> None:
    from launch.stages.serve import vllm

    [seam] = [seam for seam in LISTED if seam.by == "launch/stages/serve.py"]
    command = vllm("FOLDER", "name", gpus=4, max_length=4096).command
    assert command[:3] == ("vllm", "serve", "FOLDER")
    assert {word for word in command if word.startswith("--")} == set(seam.flags)


# --- one environment against the list -------------------------------------------------------------
@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with an engine in it, as another one would call it."""
    folder = tmp_path / "planted_engine"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "class Engine:\n    def __init__(self, model, seed=0, **more): ...\n\n"
        "def archs():\n    return ['LlamaForCausalLM']\n\n"
        "def make(parser):\n    parser.add_argument('--port')\n    return parser\n\n"
        "def lost():\n    raise RuntimeError('Failed to infer device type, please')\n"
    )
    info = tmp_path / "planted_engine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: planted-engine\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    sys.modules.pop("planted_engine", None)


@pytest.mark.parametrize(
    ("target", "more", "state", "says"),
    [
        ("planted_engine:Engine", {"arguments": ("model", "+anything")}, "ok", "1.0, pinned 2.0"),
        ("planted_engine:Engine", {"arguments": ("model", "swap_space")}, "missing",
         "it takes no swap_space (planted-engine 1.0, pinned 2.0)"),
        ("planted_engine:Motor", {}, "missing", "there is no Motor (planted-engine 1.0, pinned"),
        ("planted_engine.models:Engine", {}, "missing", "No module named 'planted_engine.models'"),
        ("planted_engine.models:Engine", {"imported": False}, "missing", "there is no module"),
        ("planted_engine:archs", {"holds": ("LlamaForCausalLM", "NewForCausalLM")}, "missing",
         "it does not know NewForCausalLM"),
        ("planted_engine:lost", {"holds": ("x",)}, "unseen", "only where a GPU is"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_with_its_pin(
    package: Path, target: str, more: dict[str, Any], state: str, says: str
) -> None:
    [found] = seams.look([Seam("planted-engine", target, ("eval",), **more)],
                         {"planted-engine": "2.0"})  # fmt: skip
    assert (found.state, says in found.words) == (state, True), found


def test_options_are_held_against_the_parser(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seams, "_PARSER", ("argparse", "ArgumentParser"))
    one = Seam("planted-engine", "planted_engine:make", ("eval",), flags=("--port",))
    other = Seam("planted-engine", "planted_engine:make", ("eval",), flags=("--port", "--swap"))
    found = seams.look([one, other], {})
    assert [f.state for f in found] == ["ok", "missing"]
    assert "its command line has no --swap" in found[1].words


def test_a_package_that_nobody_locked_is_absent_and_no_pass(package: Path) -> None:
    other = Seam("not-here", "not_here:x", ("eval",))
    [found] = seams.look([other], {})
    assert (found.state, seams.summary([found])) == ("absent", "no package of the list is here")
    [found] = seams.look([other], {"not-here": "1.0"})
    assert (found.state, "not installed, pinned 1.0" in found.words) == ("missing", True)


def test_a_list_that_says_something_unknown_is_refused(tmp_path: Path) -> None:
    (tmp_path / "seams.toml").write_text('[x]\nimages = ["eval"]\n"x:y" = { flag = ["--a"] }\n')
    with pytest.raises(ValueError, match=r"x:y.*flag"):
        seams.read(tmp_path / "seams.toml")


# --- both real stacks -----------------------------------------------------------------------------
def look(python: str, image: str) -> list[dict[str, str]]:
    """Look at the seams of an image's packages in some environment, as the image itself does."""
    words = [python, str(ROOM / "seams.py"), "--image", image, "--json"]
    done = subprocess.run(words, capture_output=True, text=True, env={
        **os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    found: list[dict[str, str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def fitting(found: list[dict[str, str]], absent: set[str]) -> None:
    """All that is here fits, and nothing else is absent than what cannot be here."""
    assert [one["words"] for one in found if one["state"] in ("missing", "unseen")] == []
    assert {one["package"] for one in found if one["state"] == "absent"} <= absent


@pytest.mark.slow  # half a minute: importing Axolotl
def test_the_training_stack_fits_in_the_lock_s_versions() -> None:
    pytest.importorskip("axolotl")
    the_lock_s(sys.executable, "train")
    # flash-attn needs nvcc; the others a person brings.
    fitting(look(sys.executable, "train"), {"flash-attn", "cut-cross-entropy", "xielu"})


@pytest.mark.slow  # half a minute: importing vLLM
def test_the_evaluation_stack_fits_in_the_lock_s_versions() -> None:
    python = serve_python()
    the_lock_s(python, "eval")
    fitting(look(python, "eval"), set())
