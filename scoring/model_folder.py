"""Look at a folder of weights before anything is loaded from it: is it a model that can be asked?

    check(Path("weights"), "the model that is scored", chat=True)

Reads configuration, tokenizer, template and the headers of the safetensors files, never a weight:
a second for 27B parameters, where loading them takes minutes and training on them days. Where
transformers is installed, its classes are known too; a login node without it looks at the rest.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kit.errors import KitError, nearest
from scoring import chat_template

__all__ = ["check", "headers"]

#: Endings of the classes that write text.
_WRITERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
#: Each is enough for a tokenizer.
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "tekken.json", "vocab.json")
#: What a tokenizer.json may be, as the library tokenizers has them.
_ALGORITHMS = ("BPE", "Unigram", "WordLevel", "WordPiece")
_EMBEDDING = re.compile(
    r"(^|\.)(embed_tokens|wte|word_embeddings|tok_embeddings|embed_in)\.weight$"
)
_SHARD = re.compile(r"-(\d+)-of-(\d+)\.safetensors$")
#: The safetensors format allows no longer header.
_MOST_HEADER = 100_000_000
_CONVERT = "AutoModelForCausalLM.from_pretrained({0}).save_pretrained('OUT')"


def check(folder: Path, what: str, *, chat: bool = False) -> None:
    """Refuse a folder that holds no model which can be loaded and asked here.

    Args:
        folder: of weights.
        what: whose it is, for the message: "the base model".
        chat: whether it will be asked in turns, which takes a chat template.

    Raises:
        KitError: the first thing that is wrong, with where, why, and what to do.
    """
    if not folder.is_dir():
        raise _no_folder(folder, what)
    config = _config(folder, what)
    _class(folder, what, config)
    rows = _embedded(headers(folder, what))
    _size(folder, what, config, rows)
    template = chat_template.read(folder)
    _tokenizer(folder, what, rows, template or "")
    if chat:
        chat_template.check(folder, what, template)


def headers(folder: Path, what: str) -> dict[str, list[int]]:
    """Read the headers of a folder's safetensors files.

    Returns:
        The shape of each tensor, by its name.

    Raises:
        KitError: there are none, one is cut or missing, or none holds a weight.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise _no_safetensors(folder, what)
    shapes: dict[str, list[int]] = {}
    held: dict[str, set[str]] = {}
    size = 0
    for path in files:
        found, stored = _header(path, what)
        shapes |= found
        held[path.name] = set(found)
        size += stored
    _shards(folder, what, held)
    if not size:
        raise KitError(
            f"{what}: the safetensors files hold no weights", where=str(folder),
            cause="placeholders, as sharded training leaves them beside its shards",
            fix="give the merged weights: RUN/train/model of a finished run",
        )  # fmt: skip
    return shapes


def _no_folder(folder: Path, what: str) -> KitError:
    if folder.suffix == ".gguf":
        return _gguf(folder, what)
    if folder.is_file():
        return KitError(
            f"{what}: a file is given, a folder of weights is wanted", where=str(folder),
            fix=f"give the folder with config.json, tokenizer and safetensors: {folder.parent}",
        )  # fmt: skip
    return KitError(
        f"{what}: there is no such folder of weights", where=str(folder),
        cause="a misspelt path, or the name of a model on the hub, which is fetched first",
        fix=f"ls {folder.parent}; or hf download ORG/NAME --local-dir FOLDER",
    )  # fmt: skip


def _gguf(file: Path, what: str) -> KitError:
    words = f"'{file.parent}', gguf_file='{file.name}'"
    return KitError(
        f"{what}: a GGUF file is given, safetensors are wanted", where=str(file),
        cause="GGUF is llama.cpp's format, and mostly quantised: not the weights that were trained",
        fix="give the folder of safetensors that it was made from; if there is none: "
        + _CONVERT.format(words) + ", with the tokenizer beside it",
    )  # fmt: skip


def _no_safetensors(folder: Path, what: str) -> KitError:
    if found := sorted(folder.glob("*.gguf")):
        return _gguf(found[0], what)
    if (folder / "adapter_config.json").is_file() or list(folder.glob("adapter_model.*")):
        return _adapter(folder, what)
    if list(folder.rglob("*.distcp")):
        return KitError(
            f"{what}: these are a checkpoint's shards, not merged weights", where=str(folder),
            cause="FSDP writes each rank's part; they are merged when training has finished",
            fix="mfo resume RUN, then RUN/train/model",
        )  # fmt: skip
    pickles = sorted(p.name for pattern in _PICKLES for p in folder.glob(pattern))
    if pickles:
        return KitError(
            f"{what} holds no safetensors, only pickled weights", where=str(folder / pickles[0]),
            cause="pickled weights are not loaded: a pickle can run code",
            fix="choose a revision with safetensors; or, if you trust the file: "
            + _CONVERT.format(f"'{folder}'"),
        )  # fmt: skip
    return KitError(
        f"{what} holds no safetensors", where=str(folder),
        cause="no model folder, or training has not finished",
        fix="give a folder with config.json, tokenizer and safetensors",
    )  # fmt: skip


def _adapter(folder: Path, what: str) -> KitError:
    return KitError(
        f"{what}: this is an adapter (LoRA), not a whole model",
        where=str(folder),
        cause="adapter_config.json is there, config.json and the weights are not",
        fix="merge it into its base (PEFT's merge_and_unload, then save_pretrained)",
    )


def _config(folder: Path, what: str) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        if not list(folder.glob("*.safetensors")):
            raise _no_safetensors(folder, what)
        if (folder / "adapter_config.json").is_file():
            raise _adapter(folder, what)
        raise KitError(
            f"{what}: the folder has weights and no config.json", where=str(folder),
            cause="half a copy, or a folder below the model's own",
            fix="copy config.json and the tokenizer from where the weights come from",
        )  # fmt: skip
    config = read_object(file, what)
    if not isinstance(config.get("model_type"), str):
        raise KitError(f"{what}: config.json names no model_type", where=str(file),
                       fix="give a folder that from_pretrained loads")  # fmt: skip
    return config


def read_object(file: Path, what: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        KitError: it cannot be read, or is another thing.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise KitError(
            f"{what}: {file.name} cannot be read: {error}", where=str(file),
            cause="a copy or download that was cut", fix="copy or fetch it again",
        ) from None  # fmt: skip
    if not isinstance(found, dict):
        raise KitError(f"{what}: {file.name} is no JSON object", where=str(file),
                       fix="give a folder that from_pretrained loads")  # fmt: skip
    return found


def _class(folder: Path, what: str, config: Mapping[str, Any]) -> None:
    file, named = str(folder / "config.json"), config.get("architectures")
    if not (isinstance(named, list) and named and isinstance(named[0], str)):
        raise KitError(f"{what}: config.json names no class (architectures)", where=file,
                       fix="give a folder that from_pretrained loads")  # fmt: skip
    name = named[0]
    if not name.endswith(_WRITERS):
        raise KitError(
            f"{what}: {name} is no model that writes text", where=file,
            cause="an encoder, a classifier or a reward model",
            fix=f"give a model whose class ends in {', '.join(_WRITERS)}",
        )  # fmt: skip
    if find_spec("transformers") is None:
        return
    import transformers

    known = dir(transformers)
    if name in known:
        return
    if "auto_map" in config:
        raise KitError(
            f"{what}: the class {name} is code of the folder's own, which is not run", where=file,
            cause="auto_map names it: from_pretrained would need trust_remote_code=True",
            fix="choose a model whose class transformers has",
        )  # fmt: skip
    close = nearest(name, [one for one in known if one.endswith(_WRITERS)])
    raise KitError(
        f"{what}: transformers {transformers.__version__} has no class {name}", where=file,
        cause=f"a newer model than the pinned version, or a misspelt name ({close})",
        fix="choose another model; a newer transformers is another stack than the one pinned",
    )  # fmt: skip


def _header(path: Path, what: str) -> tuple[dict[str, list[int]], int]:
    """Read one file's header: shapes by name, and the bytes of weights that it promises."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if start.startswith(b"version "):
            raise KitError(
                f"{what}: {path.name} is a Git LFS pointer, not the weights", where=str(path),
                cause="the repository was cloned without its large files",
                fix=f"git -C {path.parent} lfs pull",
            )  # fmt: skip
        if start[:4] == b"GGUF":
            raise _gguf(path, what)
        if not 2 <= length <= _MOST_HEADER:
            raise _broken(path, what, "it does not begin with a header's length")
        if length + 8 > size:
            raise _broken(path, what, f"its header is cut: {size:,} bytes of {length + 8:,}")
        text = file.read(length)
    try:
        table = json.loads(text)
        table.pop("__metadata__", None)
        shapes = {name: [int(n) for n in one["shape"]] for name, one in table.items()}
        stored = max((int(one["data_offsets"][1]) for one in table.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise _broken(path, what, "its header is no table of tensors") from None
    if size != 8 + length + stored:
        raise _broken(path, what, f"it has {size:,} bytes, its header says {8 + length + stored:,}")
    return shapes, stored


def _broken(path: Path, what: str, why: str) -> KitError:
    return KitError(
        f"{what}: {path.name} is no whole safetensors file: {why}", where=str(path),
        cause="a copy or download that was cut, or a full disk", fix="copy or fetch it again",
    )  # fmt: skip


def _shards(folder: Path, what: str, held: Mapping[str, set[str]]) -> None:
    """Hold the shards against their index."""
    file = folder / "model.safetensors.index.json"
    if not file.is_file():
        numbered = [m for m in map(_SHARD.search, held) if m and int(m[2]) > 1]
        if numbered and "model.safetensors" not in held:
            raise KitError(
                f"{what}: {len(numbered)} of {int(numbered[0][2])} shards are here, without their "
                f"index", where=str(file), cause="half a copy",
                fix=f"copy {file.name} and every shard from where the weights come from",
            )  # fmt: skip
        return
    weights = read_object(file, what).get("weight_map")
    if not isinstance(weights, dict) or not weights:
        raise KitError(f"{what}: the index has no weight_map", where=str(file),
                       fix="copy or fetch it again")  # fmt: skip
    shards = {str(shard) for shard in weights.values()}
    if missing := sorted(shards - set(held)):
        raise KitError(
            f"{what}: {len(missing)} of {len(shards)} shards are missing, the first is "
            f"{missing[0]}", where=str(folder), cause="a copy or download that was cut",
            fix="copy or fetch the folder again",
        )  # fmt: skip
    for name, shard in weights.items():
        if name not in held[str(shard)]:
            raise KitError(
                f"{what}: the index has {name} in {shard}, which does not hold it",
                where=str(file), cause="shards of another model or of another save",
                fix="copy or fetch the folder again",
            )  # fmt: skip


def _embedded(shapes: Mapping[str, list[int]]) -> int:
    """Rows of the table of input embeddings, one a token; 0 where it has another name."""
    found = [s[0] for n, s in shapes.items() if _EMBEDDING.search(n) and len(s) == 2]
    return max(found, default=0)


def _size(folder: Path, what: str, config: Mapping[str, Any], rows: int) -> None:
    text = config.get("text_config")
    said = (text if isinstance(text, dict) else config).get("vocab_size")
    if rows and isinstance(said, int) and said != rows:
        raise KitError(
            f"{what}: config.json says a vocabulary of {said:,}, the weights have {rows:,}",
            where=str(folder), cause="configuration and weights are of two models",
            fix="copy or fetch the folder again",
        )  # fmt: skip


def _tokenizer(folder: Path, what: str, rows: int, template: str) -> None:
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise KitError(
            f"{what}: the folder has no tokenizer", where=str(folder),
            cause=f"none of {', '.join(_TOKENIZERS)} is there",
            fix="copy the tokenizer's files from where the weights come from",
        )  # fmt: skip
    file, told = folder / "tokenizer.json", folder / "tokenizer_config.json"
    settings = read_object(told, what) if told.is_file() else {}
    if not file.is_file():
        own = settings.get("auto_map")
        if own:
            raise KitError(
                f"{what}: the tokenizer is code of the folder's own, which is not run",
                where=str(told), cause="auto_map names it",
                fix="choose a model with a tokenizer.json",
            )  # fmt: skip
        return
    table = read_object(file, what)
    model = table.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    if not isinstance(model, dict) or (kind is not None and kind not in _ALGORITHMS):
        raise KitError(
            f"{what}: the tokenizer's algorithm is {kind!r}", where=str(file),
            cause=f"the library tokenizers has {', '.join(_ALGORITHMS)}",
            fix="copy or fetch the folder again, or choose another model",
        )  # fmt: skip
    if find_spec("tokenizers") is not None:
        _loads(file, what)
    if rows:
        _fits(file, what, rows, _too_large(table, rows), template, settings)


def _loads(file: Path, what: str) -> None:
    import tokenizers

    try:
        tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # noqa: BLE001 - the library raises Exception itself
        raise KitError(
            f"{what}: tokenizers {tokenizers.__version__} cannot read the tokenizer: {error}",
            where=str(file), cause="written by a newer version than the pinned one, or cut",
            fix="copy or fetch the folder again, or choose another model",
        ) from None  # fmt: skip


def _too_large(table: Mapping[str, Any], rows: int) -> tuple[int, dict[str, int]]:
    """Give the largest id of the vocabulary, and the added tokens that have no embedding."""
    model = table["model"]
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, dict):
        largest = max((n for n in vocabulary.values() if isinstance(n, int)), default=-1)
    else:
        largest = len(vocabulary) - 1 if isinstance(vocabulary, list) else -1
    added = table.get("added_tokens")
    found = {
        str(one.get("content")): one["id"]
        for one in (added if isinstance(added, list) else [])
        if isinstance(one, dict) and isinstance(one.get("id"), int) and one["id"] >= rows
    }
    return largest, found


def _fits(
    file: Path, what: str, rows: int, found: tuple[int, dict[str, int]], template: str,
    settings: Mapping[str, Any],
) -> None:  # fmt: skip
    """Refuse ids without an embedding; a spare token that nothing writes is left alone.

    Gemma 3's text models have such a one, for an image: the row is another class's.
    """
    largest, added = found
    special = set(chat_template.special_tokens(settings).values())
    used = {t: n for t, n in added.items() if t in template or t in special}
    if largest < rows and not used:
        return
    which = next((f"{t} has the id {n:,}" for t, n in used.items()), f"ids go up to {largest:,}")
    raise KitError(
        f"{what}: the tokenizer is larger than the embedding: {which}, the weights have {rows:,} "
        "rows", where=str(file),
        cause="another model's tokenizer, or tokens were added and the weights not resized",
        fix="copy the tokenizer that belongs to the weights",
    )  # fmt: skip
