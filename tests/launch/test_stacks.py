"""What is known of the software of the published runs."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from real_files import real_files

from kit.errors import KitError
from launch.inputs.upstream import load_pins
from launch.run import stacks

Call = Callable[..., tuple[int, str, str]]


def test_it_is_shown_with_a_full_size_recipe_and_called_evidence(call: Call) -> None:
    code, out, _ = call("recipe", "show", "apertus-70b")
    assert code == 0
    assert "stack train-2026-01, evidence and not proof" in out
    assert "torch 2.7.1, flash-attn 2.8.3, xformers 0.0.31, axolotl 0.12.2" in out
    assert "the kit builds no such image" in out
    assert "stack" not in call("recipe", "show", "smoke")[1]
    found = json.loads(call("recipe", "show", "gemma-3-27b", "--json")[1])
    assert found["stacks"]["train-2026-01"]["versions"]["cuda"] == "12.8.0"


def test_its_source_is_pinned() -> None:
    pins = load_pins()["meditron_apertus"]
    (stack,) = stacks.load().values()
    assert pins.repository in stack.source
    assert pins.commit[:7] in stack.source
    assert "docker/Dockerfile" in pins.sha256


def test_each_version_stands_in_the_real_dockerfile() -> None:
    text = real_files("upstream-files", "meditron-apertus-36049c9", "Dockerfile").read_text()
    (stack,) = stacks.load().values()
    for package, version in stack.versions.items():
        assert re.search(rf"(?<![\d.]){re.escape(version)}(?![\d])", text), package


def test_a_stack_of_another_form_is_refused(tmp_path: Path) -> None:
    text = (stacks.RECIPES / "stacks.toml").read_text()
    for old, new, says in (
        ("role =", "roll =", r"unknown key 'train-2026-01.roll'; nearest: train-2026-01.role"),
        ("role =", "# role =", r"train-2026-01.role is missing; it takes train or eval"),
        ("[train-", "x = 1\n[train-", "x takes a table, not 1"),
        ("unpinned = [", "unpinned = 3 # [", "unpinned takes a list, not 3"),
    ):
        (tmp_path / "stacks.toml").write_text(text.replace(old, new, 1))
        with pytest.raises(KitError, match=says):
            stacks.load(tmp_path / "stacks.toml")
