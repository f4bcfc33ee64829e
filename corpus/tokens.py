"""Any Hugging Face tokenizer, as ids and nothing else: no truncation, no padding, its own specials.

tokenizer.json is read as it stands (nothing that comes with a model is executed), so special tokens
are added exactly where its post-processor puts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from corpus.blocks import Tokens
from kit.errors import KitError

#: Characters that are tokenised at once, and more only where one text has more.
SLICE = 2**16


def find(path: Path) -> Path:
    """Give the tokenizer.json of a folder, or the file itself.

    Raises:
        KitError: there is none.
    """
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise KitError(
            "there is no tokenizer.json",
            where=str(path),
            cause="a misspelt path, or a folder that holds a tokenizer in an older format",
            fix="give a model's folder or its tokenizer.json; transformers' "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(NEW) writes one",
        )
    return file


def load(path: Path) -> Any:
    """Load a tokenizer from a folder or a tokenizer.json.

    Raises:
        KitError: no such file, not a tokenizer, or the package tokenizers is not installed.
    """
    file = find(path)
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise KitError(
            "the package tokenizers is not installed",
            where="corpus.tokens",
            fix="pip install -c constraints.txt -e '.[train]', or make setup",
        ) from None
    try:
        tokenizer = Tokenizer.from_file(str(file))
    # The library raises bare exceptions for whatever is wrong in the file.
    except Exception as error:  # noqa: BLE001
        raise KitError(
            f"this is not a tokenizer: {error}",
            where=str(file),
            cause="a cut download, a git-lfs pointer, or another kind of file",
            fix="fetch it again",
        ) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def clean(text: str) -> str:
    r"""Replace half surrogates ("\ud800" in JSON), which no tokenizer takes, by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def encode(tokenizer: Any, texts: Sequence[str]) -> list[Tokens]:
    """Give the ids of each text.

    Args:
        tokenizer: what `load` gives.
        texts: without half surrogates (`clean`).

    Returns:
        One array of shape (tokens,) a text.
    """
    out: list[Tokens] = []
    ends = np.cumsum([len(text) for text in texts])
    begin = 0
    # A slice at a time: the library's own result takes a hundred bytes and more a token.
    while begin < len(texts):
        until = SLICE + (ends[begin - 1] if begin else 0)
        end = max(begin + 1, int(np.searchsorted(ends, until, side="right")))
        found = tokenizer.encode_batch_fast(list(texts[begin:end]))
        out += [np.array(one.ids, dtype=np.uint32) for one in found]
        begin = end
    return out


def forget_words(tokenizer: Any) -> None:
    """Let a tokenizer of the library remember no more words: 7 MiB in each process.

    That pays where few texts are tokenised. What it gives stays the same.
    """
    # The library's own names begin with an underscore, and older versions do not have them.
    for name, value in (("_clear_cache", ()), ("_resize_cache", (0,))):
        method = getattr(tokenizer.model, name, None)
        if method is not None:
            method(*value)
