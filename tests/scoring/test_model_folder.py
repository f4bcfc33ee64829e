"""A folder of weights is looked at before anything is loaded: each fault is named, no other is."""

import json
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from model_folders import CHAT_FAULTS, FAULTS, ROWS, added, change, safetensors, whole, write

from kit.errors import KitError
from scoring.model_folder import check, headers

Spoiler = Callable[[Path], None]


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_named_with_its_cause(tmp_path: Path, name: str) -> None:
    spoil, says, why = FAULTS[name]
    folder = whole(tmp_path / "m")
    check(folder, "the judge", chat=True)
    spoil(folder)
    with pytest.raises(KitError, match=r"^the judge") as caught:
        check(folder, "the judge")
    assert says in caught.value.what
    assert why in caught.value.cause + caught.value.fix
    assert caught.value.where.startswith(str(folder))
    assert caught.value.fix


@pytest.mark.parametrize("name", CHAT_FAULTS)
def test_a_template_is_asked_for_where_turns_are(tmp_path: Path, name: str) -> None:
    spoil, says, why = CHAT_FAULTS[name]
    folder = whole(tmp_path / "m")
    spoil(folder)
    check(folder, "the base model")
    with pytest.raises(KitError) as caught:
        check(folder, "the base model", chat=True)
    assert says in caught.value.what
    assert why in caught.value.fix


def test_a_template_may_stand_elsewhere_and_use_what_transformers_gives(tmp_path: Path) -> None:
    marked = (
        "{{ strftime_now('%Y') }}{{ bos_token }}{% for m in messages %}{% generation %}"
        "{{ m.content | tojson }}{% endgeneration %}{% if loop.first %}{% continue %}{% endif %}"
        "{% endfor %}"
    )
    for name, kept in (
        ("chat_template.jinja", marked),
        ("chat_template.json", json.dumps({"chat_template": marked})),
    ):
        folder = whole(tmp_path / name)
        write(name, kept.encode(), instead_of="chat_template.jinja")(folder)
        check(folder, "the base model", chat=True)
    folder = whole(tmp_path / "several")
    several = [{"name": "tools", "template": "x"}, {"name": "default", "template": marked}]
    (folder / "chat_template.jinja").unlink()
    change("tokenizer_config.json", chat_template=several)(folder)
    check(folder, "the base model", chat=True)
    change("tokenizer_config.json", chat_template=several[:1])(folder)
    with pytest.raises(KitError, match="has no chat template"):
        check(folder, "the base model", chat=True)


def test_a_spare_token_without_an_embedding_is_left_alone(tmp_path: Path) -> None:
    """Gemma 3's text models have one for images: nothing writes it."""
    folder = whole(tmp_path / "m")
    table = json.loads((folder / "tokenizer.json").read_text())
    table["added_tokens"].append(added(ROWS, "<image_soft_token>"))
    (folder / "tokenizer.json").write_text(json.dumps(table))
    check(folder, "the base model", chat=True)
    change("tokenizer_config.json", pad_token={"content": "<image_soft_token>"})(folder)
    with pytest.raises(KitError, match="larger than the embedding"):
        check(folder, "the base model")


@pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")
def test_a_class_that_transformers_has_not_is_named_with_the_nearest(tmp_path: Path) -> None:
    folder = whole(tmp_path / "m")
    change("config.json", architectures=["Gemma9ForCausalLM"])(folder)
    with pytest.raises(KitError, match="has no class Gemma9ForCausalLM") as caught:
        check(folder, "the base model")
    assert "Gemma3ForCausalLM" in caught.value.cause
    change("config.json", auto_map={"AutoModelForCausalLM": "m.Gemma9ForCausalLM"})(folder)
    with pytest.raises(KitError, match="code of the folder's own"):
        check(folder, "the base model")


@pytest.mark.parametrize(
    ("given", "says"),
    [("m.gguf", "a GGUF file"), ("m/config.json", "a file is given"), ("no", "no such folder")],
)
def test_what_is_no_folder(tmp_path: Path, given: str, says: str) -> None:
    whole(tmp_path / "m")
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    with pytest.raises(KitError, match=says):
        check(tmp_path / given, "the base model")


def test_headers_alone_are_read(tmp_path: Path) -> None:
    """20 GB of weights, as a file with holes: reading them would take more than some seconds."""
    folder = whole(tmp_path / "m")
    large = safetensors(folder / "model.safetensors", {"model.embed_tokens.weight": [ROWS, 4]})
    header = json.loads(large.read_bytes()[8:-64])
    header["lm_head.weight"] = {"dtype": "BF16", "shape": [10_000, 10**6],
                                "data_offsets": [64, 64 + 2 * 10**10]}  # fmt: skip
    text = json.dumps(header).encode()
    with large.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + 64 + 2 * 10**10)
    began = time.process_time()
    assert headers(folder, "the base model")["lm_head.weight"] == [10_000, 10**6]
    assert time.process_time() - began < 1
