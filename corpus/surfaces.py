"""What a token stands for in a text, where that can be proved of the tokenizer.

A *surface* is the bytes that a token stands for wherever it occurs. For the tokenizers of which
`find` proves it from their own description, this holds for every text t for which `bytes_of(t)` is
not None:

    Lay the surfaces of t's tokens side by side, and cut where a token without a surface stands:
    every piece is a contiguous part of bytes_of(t).

So tokens that two texts share in a row, all with surfaces, are bytes that both texts contain. The
argument: the library takes added tokens out of the text, normalises what is left, cuts it into
pieces (`pre_tokenizer`), and gives each piece to the model. Here the cutting only cuts (nothing is
removed), and byte-pair encoding only joins neighbours, so that its tokens side by side are the
piece again, unless a character is unknown to it: then it is the unknown token, which has no surface
here, or a byte token, which has none either, or it would be dropped silently, and such tokenizers
are left out. Special tokens, which the post-processor may insert, have no surface. What remains is
that the library normalises the parts between added tokens, and `bytes_of` the whole text:

    without a normaliser, or where it replaces single characters, that is the same;
    with any other, a text that holds an added token is given up (None), and where the start of the
    text gets a mark ("▁"), bytes_of puts one there.

Tokenizers of other kinds (WordPiece, Unigram, those that drop blanks) have no surfaces: `find`
gives None, and everything is tokenised as before. tests/corpus/test_prefilter.py tries to break it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

_CUTS_ONLY = ("Split", "Digits", "Punctuation", "ByteLevel", "UnicodeScripts")


def _byte_characters() -> dict[str, int]:
    """The characters by which byte-level tokenizers write bytes (GPT-2's table)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in shown]
    table = {chr(b): b for b in shown}
    table.update({chr(256 + n): b for n, b in enumerate(hidden)})
    return table


class _Strict(dict[int, str]):
    """A table for str.translate in which what is missing becomes what latin-1 cannot hold."""

    def __missing__(self, key: int) -> str:
        return "\uffff"


_BYTES = _byte_characters()
_TO_LATIN = _Strict({ord(c): chr(b) for c, b in _BYTES.items()})
_BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")


class Surfaces:
    """Surfaces of one tokenizer; made by `find`.

    Args:
        tokenizer: of the library `tokenizers`.
        byte_level: whether its tokens write bytes as characters.
        single: what single characters become before anything else, where that is all that the
            normaliser does; None: it does something else.
        mark: what may be put at the start of the text.
        blank: what a blank becomes in the pre-tokenizer.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        byte_level: bool,
        single: list[tuple[str, str]] | None,
        mark: str,
        blank: str,
    ) -> None:
        self.tokenizer, self.byte_level = tokenizer, byte_level
        self.single, self.mark, self.blank = single, mark, blank
        added = tokenizer.get_added_tokens_decoder()
        self.added = dict(added)
        # Inserted by the post-processor, at the start and the end of everything.
        self.inserted = {i for text in ("", "a") for i in tokenizer.encode(text).ids}
        self.inserted -= set(tokenizer.encode("a", add_special_tokens=False).ids)
        self.careful: re.Pattern[str] | None = None
        if added and (single is None or mark):
            words = {a.content for a in added.values()}
            if tokenizer.normalizer is not None:
                words |= {tokenizer.normalizer.normalize_str(a.content) for a in added.values()}
                words |= {w.lstrip(mark) for w in words if mark}
            self.careful = re.compile("|".join(sorted(map(re.escape, words - {""}))) or r"(?!)")

    def bytes_of(self, text: str) -> bytes | None:
        """Give the bytes that the pieces of a text are parts of; None where nothing is known."""
        if self.careful is not None and self.careful.search(text):
            return None
        if self.single is not None:
            for old, new in self.single:
                text = text.replace(old, new)
        else:
            text = self.tokenizer.normalizer.normalize_str(text)
            if self.careful is not None and self.careful.search(text):
                return None
        if self.blank:
            text = text.replace(" ", self.blank)
        return (self.mark + text).encode("utf-8", "replace")

    def of(self, ids: Iterable[int]) -> dict[int, bytes | None]:
        """Give each token's surface; None where it has none."""
        return {i: self._of(i) for i in ids}

    def _of(self, number: int) -> bytes | None:
        text = self.tokenizer.id_to_token(number)
        if text is None or number in self.inserted:
            return None
        if number in self.added:
            one = self.added[number]
            if one.special or one.lstrip or one.rstrip or self.careful is not None:
                return None
            written = one.content
            for old, new in self.single or ():
                written = written.replace(old, new)
            return str(written).encode("utf-8", "replace")
        if text == self.tokenizer.model.unk_token or _BYTE_TOKEN.fullmatch(text):
            return None
        if not self.byte_level:
            return str(text).encode("utf-8", "replace")
        try:
            return str(text).translate(_TO_LATIN).encode("latin-1")
        except UnicodeEncodeError:
            return None


def find(tokenizer: Any) -> Surfaces | None:
    """Give a tokenizer's surfaces where the statement above can be proved of it, else None."""
    try:
        from tokenizers import Tokenizer
        from tokenizers.models import BPE
    except ImportError:
        return None
    if not isinstance(tokenizer, Tokenizer) or not isinstance(tokenizer.model, BPE):
        return None
    model = tokenizer.model
    if model.dropout or model.continuing_subword_prefix or model.end_of_word_suffix:
        return None
    cuts = _steps(tokenizer.pre_tokenizer, "pretokenizers")
    kinds = [step["type"] for step in cuts]
    mark = blank = ""
    if kinds == ["Metaspace"]:
        blank = cuts[0]["replacement"]
        mark = "" if cuts[0].get("prepend_scheme") == "never" else blank
    elif not all(_only_cuts(step) for step in cuts) or kinds.count("ByteLevel") > 1:
        return None
    byte_level = "ByteLevel" in kinds
    if not _nothing_is_dropped(model, byte_level):
        return None
    norms = _steps(tokenizer.normalizer, "normalizers")
    single: list[tuple[str, str]] | None = []
    for step in norms:
        old = step.get("pattern", {}).get("String", "") if step["type"] == "Replace" else ""
        if single is not None:
            single = [*single, (old, step["content"])] if len(old) == 1 else None
    return Surfaces(tokenizer, byte_level=byte_level, single=single, mark=mark, blank=blank)


def _steps(component: Any, several: str) -> list[dict[str, Any]]:
    """Give the description of a normaliser or pre-tokenizer as a flat list of steps."""
    if component is None:
        return []

    def flat(one: dict[str, Any]) -> list[dict[str, Any]]:
        if one["type"] == "Sequence":
            return [step for inner in one[several] for step in flat(inner)]
        return [one]

    return flat(json.loads(component.__getstate__()))


def _only_cuts(step: dict[str, Any]) -> bool:
    if step["type"] not in _CUTS_ONLY or step.get("behavior") == "Removed":
        return False
    return not step.get("add_prefix_space")


def _nothing_is_dropped(model: Any, byte_level: bool) -> bool:
    """Whether every character becomes some token."""
    if model.unk_token is not None:
        return model.token_to_id(model.unk_token) is not None
    if byte_level:
        return all(model.token_to_id(c) is not None for c in _BYTES)
    known = (model.token_to_id(f"<0x{b:02X}>") is not None for b in range(256))
    return bool(model.byte_fallback) and all(known)
