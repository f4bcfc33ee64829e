"""Build a tiny, randomly initialised model and its tokenizer from a recipe's model.json.

The smoke recipe trains it in place of the real base: the same class, the same special tokens and
turn format, about a million parameters. The same inputs give the same bytes, on any machine.
Costs about ten seconds, nearly all of it spent importing torch and transformers.

model.json is a Hugging Face config with `architectures` and one more table, `tokenizer`:
    kind                   "pieces" (SentencePiece's form, as Gemma and EuroLLM; the default) or
                           "bytes" (byte-level BPE, as Apertus and OLMo-2)
    pad, eos, bos, unk     the text of these tokens; bytes need no unk
    adds_bos               false: the tokenizer leaves the first token to the chat template
    end_of_turn            the token that ends a turn; generation stops at it
    special                every special token, in the order of its ids from 0
    last                   special tokens behind the learned ones (Gemma's image token)
    config_ids             config key -> token whose id it takes
    named                  names under which the class's processor looks for a token
    files                  further files of the folder, such as the image processor's
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kit.errors import KitError

# Gemma's mark for a blank; a piece that begins with it begins a word.
_BLANK = "\u2581"
_BYTES = [f"<0x{value:02X}>" for value in range(256)]
# A word with the blank before it, one digit, or one other character. Gemma itself does not split,
# but a thousand pieces are too few to be spent on whole phrases.
_PIECES = "|".join(
    f"{_BLANK}{kind}"
    for kind in (r"?[\p{L}\p{M}]+", r"?\p{N}", rf"?[^\p{{L}}\p{{M}}\p{{N}}{_BLANK}]", "+")
)


def build_tiny(
    config_file: Path, chat_template: Path, texts: Iterable[str], out: Path, seed: int
) -> Path:
    """Write a model folder that `from_pretrained` loads: config, safetensors, tokenizer, template.

    Args:
        config_file: the recipe's model.json (see the module's text).
        chat_template: a Jinja file in the form that transformers reads.
        texts: what the tokenizer's pieces are learned from. Any other text can still be encoded:
            what has no piece falls back to its UTF-8 bytes.
        out: the folder to write; built beside and renamed, so it is never half there. An older
            one is replaced.
        seed: of the weights.

    Returns:
        `out`.

    Raises:
        KitError: the config is missing, is not JSON, names no class that transformers has, or asks
            for fewer pieces than the special tokens and the 256 bytes need.
    """
    config, spec = _read_config(config_file)
    tokenizer = _train_tokenizer(config, spec, texts, config_file)
    beside = out.with_name(f".{out.name}.building-{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        _save_tokenizer(tokenizer, spec, chat_template, beside)
        _save_model(config, spec, tokenizer, beside, seed, config_file)
        if out.exists():
            shutil.rmtree(out)
        beside.rename(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return out


def _read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        spec = config.pop("tokenizer")
        config["architectures"][0], config["model_type"], spec["special"]
    except FileNotFoundError:
        raise KitError(
            "The config of the tiny model is not there.",
            where=str(path),
            cause="[model] config in recipe.toml names a file relative to the recipe's folder",
            fix="write the file, or correct the path",
        ) from None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise KitError(
            "The config of the tiny model cannot be used.",
            where=str(path),
            cause=f"{type(error).__name__}: {error}; it needs architectures, model_type and a "
            "tokenizer table with special",
            fix="compare it with recipes/smoke/model.json",
        ) from error
    return config, spec


def _vocabulary_size(config: dict[str, Any]) -> int:
    return int(config.get("text_config", config)["vocab_size"])


def _train_tokenizer(
    config: dict[str, Any], spec: dict[str, Any], texts: Iterable[str], where: Path
) -> Any:
    """Learn byte-pair pieces and put them behind Gemma's special tokens and the 256 bytes.

    Two passes: the trainer does not know byte fallback, so its pieces and merges are taken over
    into a second model that does.
    """
    if spec.get("kind", "pieces") == "bytes":
        return _train_bytes(config, spec, texts, where)
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )

    special, last = list(spec["special"]), list(spec.get("last", []))
    room = _room(config, special + last, where)
    split = pre_tokenizers.Split(Regex(_PIECES), behavior="isolated")
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Replace(" ", _BLANK)
    learner.pre_tokenizer = split
    make: Any = trainers.BpeTrainer  # its stub has no types
    trainer = make(vocab_size=room, show_progress=False, min_frequency=2)
    learner.train_from_iterator(_without_special(texts, special + last), trainer)
    learned = json.loads(learner.to_str())["model"]

    pieces = sorted(learned["vocab"], key=learned["vocab"].__getitem__)[:room]
    known = set(pieces)
    merges = [tuple(pair) for pair in learned["merges"] if "".join(pair) in known]
    unused = [f"<unused{i}>" for i in range(room - len(pieces))]
    order = [*special, *_BYTES, *pieces, *unused, *last]
    vocabulary = {token: index for index, token in enumerate(order)}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, unk_token=spec["unk"], fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", _BLANK)
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(_BLANK, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{spec['bos']} $A", special_tokens=[(spec["bos"], vocabulary[spec["bos"]])]
    )
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t in [*special, *last]]
    )
    return tokenizer


def _room(config: dict[str, Any], special: list[str], where: Path) -> int:
    """Give how many pieces can be learned beside the special tokens and the 256 bytes."""
    taken = len(special) + len(_BYTES)
    if (room := _vocabulary_size(config) - taken) < 1:
        raise KitError(
            f"vocab_size is {_vocabulary_size(config)}: the special tokens and the bytes alone "
            f"need {taken}.",
            where=str(where),
            cause="every tiny tokenizer keeps one token for each of the 256 bytes",
            fix="raise vocab_size; recipes/smoke/model.json has 1024",
        )
    return room


def _train_bytes(
    config: dict[str, Any], spec: dict[str, Any], texts: Iterable[str], where: Path
) -> Any:
    """Learn byte-level pieces: each byte has a letter of its own, so nothing is ever unknown."""
    from tokenizers import (
        AddedToken,
        Tokenizer,
        decoders,
        models,
        pre_tokenizers,
        processors,
        trainers,
    )

    special = list(spec["special"])
    _room(config, special, where)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    size = _vocabulary_size(config)
    make: Any = trainers.BpeTrainer  # its stub has no types
    trainer = make(
        vocab_size=size, show_progress=False, min_frequency=2, special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    tokenizer.train_from_iterator(_without_special(texts, special), trainer)
    for number in range(size - tokenizer.get_vocab_size()):
        tokenizer.add_tokens([f"<unused{number}>"])
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    if spec.get("adds_bos", True):
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{spec['bos']} $A",
            special_tokens=[(spec["bos"], tokenizer.token_to_id(spec["bos"]))],
        )
    return tokenizer


def _without_special(texts: Iterable[str], special: list[str]) -> Iterator[str]:
    for text in texts:
        clean = text
        for token in special:
            clean = clean.replace(token, " ")
        yield clean


def _save_tokenizer(tokenizer: Any, spec: dict[str, Any], chat_template: Path, out: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    try:
        template = chat_template.read_text(encoding="utf-8")
    except OSError as error:
        raise KitError(
            "The chat template cannot be read.",
            where=str(chat_template),
            cause=str(error.strerror),
            fix="correct [model] chat_template in recipe.toml",
        ) from error
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=spec["pad"],
        eos_token=spec["eos"],
        bos_token=spec["bos"],
        unk_token=spec.get("unk"),
        padding_side="left",
        clean_up_tokenization_spaces=False,
        extra_special_tokens=spec.get("named", {}),
    )
    wrapped.chat_template = template
    wrapped.save_pretrained(str(out))
    # Axolotl loads a multimodal class's processor even where every row is text.
    for name, content in spec.get("files", {}).items():
        (out / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _save_model(
    raw: dict[str, Any], spec: dict[str, Any], tokenizer: Any, out: Path, seed: int, where: Path
) -> None:
    import torch
    import transformers

    architecture = raw["architectures"][0]
    model_class = getattr(transformers, architecture, None)
    if model_class is None:
        raise KitError(
            f"transformers {transformers.__version__} has no class {architecture}.",
            where=str(where),
            cause="a misspelt name, or a model that is newer than the pinned transformers",
            fix="correct architectures in the config",
        )
    ids = {name: tokenizer.token_to_id(spec[name]) for name in ("pad", "eos", "bos")}
    for table in (raw, raw.get("text_config")):
        if table is not None:
            table.update({f"{name}_token_id": index for name, index in ids.items()})
    for key, token in spec.get("config_ids", {}).items():
        raw[key] = tokenizer.token_to_id(token)
    config = transformers.AutoConfig.for_model(**raw)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config).to(torch.float32)
    model.generation_config = transformers.GenerationConfig(
        bos_token_id=ids["bos"],
        pad_token_id=ids["pad"],
        eos_token_id=[ids["eos"], tokenizer.token_to_id(spec["end_of_turn"])],
    )
    model.save_pretrained(str(out))
