"""A whole model folder of a few hundred bytes, and every way to spoil it that tests know.

Its configuration, its tokenizer and the headers of its weights are real; the weights are zeros.
"""

import json
import struct
from collections.abc import Callable
from pathlib import Path

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ROWS = 8
CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": ROWS,
    "num_hidden_layers": 1, "hidden_size": 4, "intermediate_size": 8, "num_attention_heads": 1,
    "num_key_value_heads": 1,
}  # fmt: skip


def safetensors(path: Path, shapes: dict[str, list[int]]) -> Path:
    """Write a safetensors file of zeros."""
    table, at = {}, 0
    for name, shape in shapes.items():
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        table[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    header = json.dumps({"__metadata__": {"format": "pt"}, **table}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(at))
    return path


def added(number: int, text: str) -> dict[str, object]:
    """Give a special token as a tokenizer.json has it."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": number, "content": text, "special": True, **flags}


def whole(folder: Path) -> Path:
    """Make a model folder that nothing is wrong with."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    safetensors(folder / "model.safetensors",
                {"model.embed_tokens.weight": [ROWS, 4], "model.norm.weight": [4]})  # fmt: skip
    tokenizer = {
        "version": "1.0",
        "added_tokens": [added(6, "<|im_start|>"), added(7, "<|im_end|>")],
        "model": {"type": "BPE", "vocab": {c: n for n, c in enumerate("abcdef")}, "merges": []},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def change(name: str, **values: object) -> Callable[[Path], None]:
    """Give a spoiler that sets keys of a JSON file; None takes a key away."""

    def spoil(folder: Path) -> None:
        table = json.loads((folder / name).read_text())
        table |= values
        (folder / name).write_text(json.dumps({k: v for k, v in table.items() if v is not None}))

    return spoil


def remove(*names: str) -> Callable[[Path], None]:
    """Give a spoiler that takes files away."""

    def spoil(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return spoil


def write(name: str, data: bytes, *, instead_of: str = "") -> Callable[[Path], None]:
    """Give a spoiler that writes a file, in place of another one."""

    def spoil(folder: Path) -> None:
        if instead_of:
            (folder / instead_of).unlink()
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)

    return spoil


def cut(name: str, keep: float) -> Callable[[Path], None]:
    """Give a spoiler that keeps only the beginning of a file."""

    def spoil(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(keep * len(data))])

    return spoil


def sharded(*shards: str, index: dict[str, str] | None) -> Callable[[Path], None]:
    """Give a spoiler that puts shards, each with one tensor, in place of the one file."""

    def spoil(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        for number, shard in enumerate(shards):
            name = "model.embed_tokens.weight" if not number else f"model.layers.{number}.weight"
            safetensors(folder / shard, {name: [ROWS, 4]})
        if index is not None:
            table = {"weight_map": index}
            (folder / "model.safetensors.index.json").write_text(json.dumps(table))

    return spoil


def both(*spoilers: Callable[[Path], None]) -> Callable[[Path], None]:
    """Give a spoiler that does several things."""

    def spoil(folder: Path) -> None:
        for one in spoilers:
            one(folder)

    return spoil


def placeholders(folder: Path) -> None:
    """Write weights without a row, as sharded training leaves them."""
    safetensors(folder / "model.safetensors", {"a.weight": [0, 4]})


FIRST, SECOND = (f"model-0000{n}-of-00002.safetensors" for n in (1, 2))
_LARGER = {"type": "BPE", "vocab": {chr(97 + n): n for n in range(ROWS + 1)}, "merges": []}

#: By what is wrong: how it comes about, what is said, and a word of the cause or the next step.
FAULTS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "gguf alone": (write("m.gguf", b"GGUF", instead_of="model.safetensors"),
                   "a GGUF file is given", "gguf_file='m.gguf'"),
    "gguf by another name": (write("model.safetensors", b"GGUF" + bytes(80)),
                             "a GGUF file is given", "quantised"),
    "pickled": (write("pytorch_model.bin", b"\x80", instead_of="model.safetensors"),
                "only pickled weights", "can run code"),
    "nothing": (remove("model.safetensors"), "holds no safetensors", "has not finished"),
    "adapter": (write("adapter_config.json", b"{}", instead_of="model.safetensors"),
                "an adapter", "merge"),
    "shards of a checkpoint": (
        write("pytorch_model_fsdp_0/__0_0.distcp", b"", instead_of="model.safetensors"),
        "a checkpoint's shards", "mfo resume"),
    "cut": (cut("model.safetensors", 0.95), "no whole safetensors file", "cut"),
    "cut in the header": (cut("model.safetensors", 0.3), "its header is cut", "cut"),
    "cut to nothing": (cut("model.safetensors", 0), "a header's length", "cut"),
    "no table": (write("model.safetensors", struct.pack("<Q", 2) + b"[]"), "no table of", "cut"),
    "lfs": (write("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n"),
            "Git LFS pointer", "lfs pull"),
    "placeholders": (placeholders,
                     "hold no weights", "merged"),
    "a shard is missing": (sharded(FIRST, index={"a": FIRST, "b": SECOND}),
                           f"1 of 2 shards are missing, the first is {SECOND}", "cut"),
    "no index": (sharded(FIRST, SECOND, index=None), "without their index", "half a copy"),
    "another save's index": (sharded(FIRST, SECOND, index={"a": FIRST, "b": SECOND}),
                             "which does not hold it", "another save"),
    "an empty index": (sharded(FIRST, SECOND, index={}), "no weight_map", "again"),
    "no config": (remove("config.json"), "no config.json", "half a copy"),
    "config cut": (cut("config.json", 0.5), "config.json cannot be read", "cut"),
    "config is a list": (write("config.json", b"[]"), "no JSON object", "from_pretrained"),
    "no model_type": (change("config.json", model_type=None), "names no model_type", ""),
    "no class": (change("config.json", architectures=None), "names no class", ""),
    "an encoder": (change("config.json", architectures=["BertForMaskedLM"]),
                   "no model that writes text", "encoder"),
    "another size": (change("config.json", vocab_size=9), "a vocabulary of 9, the weights have 8",
                     "two models"),
    "no tokenizer": (remove("tokenizer.json"), "has no tokenizer", "copy"),
    "tokenizer cut": (cut("tokenizer.json", 0.5), "tokenizer.json cannot be read", "cut"),
    "tokenizer unknown": (change("tokenizer.json", model={"type": "Parrot"}),
                          "algorithm is 'Parrot'", "BPE"),
    "a tokenizer of another version": (change("tokenizer.json", added_tokens=[{"id": 6}]),
                                       "cannot read the tokenizer", "newer"),
    "tokenizer's own code": (
        both(write("vocab.json", b"{}", instead_of="tokenizer.json"),
             change("tokenizer_config.json", auto_map={"AutoTokenizer": ["x.X", None]})),
        "code of the folder's own", "tokenizer.json"),
    "tokenizer too large": (change("tokenizer.json", model=_LARGER), "ids go up to 8", "belongs"),
    "an added token that the template writes": (
        change("tokenizer.json", added_tokens=[added(ROWS, "<|im_start|>")]),
        "<|im_start|> has the id 8, the weights have 8 rows", "not resized"),
}  # fmt: skip

#: Those of folders that are asked in turns.
CHAT_FAULTS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "no template": (remove("chat_template.jinja"), "no chat template", "chat_template"),
    "no Jinja": (write("chat_template.jinja", b"{% for m in %}"), "is no Jinja template: line 1",
                 "copy"),
    "refuses": (write("chat_template.jinja", b"{{ raise_exception('system first') }}"),
                "refuses a user's turn: system first", "copy"),
    "says nothing": (write("chat_template.jinja", b"<|im_start|>"), "leaves out what the user",
                     "copy"),
    "a function of its own": (write("chat_template.jinja", b"{{ now() }}"), "'now' is undefined",
                              "copy"),
}  # fmt: skip
