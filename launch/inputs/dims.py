"""A model's dimensions, and what follows from them: parameters and FLOPs.

Read from a Hugging Face config: the recipe's `model.shape` (the published base's dimensions), for a
model that is built here its `model.config`, else the config of the local folder that is its base.
The counts are exact. For the model types of FAMILIES they are formulas, which need no framework and
which a test holds against the classes; for any other the class itself is built without memory and
counted (dims_class.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.errors import KitError
from launch.run.recipe import Recipe

#: By model_type: whether the MLP has a gate (SwiGLU, GeGLU), norms of the hidden size a layer, what
#: q and k are normalised over, further weights of a layer, and the class that FSDP2 wraps.
FAMILIES: dict[str, tuple[bool, int, str, int, str]] = {
    "gemma3": (True, 4, "head", 0, "Gemma3DecoderLayer"),
    "gemma3_text": (True, 4, "head", 0, "Gemma3DecoderLayer"),
    "llama": (True, 2, "none", 0, "LlamaDecoderLayer"),
    "olmo2": (True, 2, "all", 0, "Olmo2DecoderLayer"),
    "apertus": (False, 2, "head", 2, "ApertusDecoderLayer"),  # xIELU has two weights of its own
}
#: Gemma 3's own defaults: a tied head, and full attention in each sixth layer.
GEMMA = ("gemma3", "gemma3_text")
#: The type as which a layer's activations were measured (plan.toml), where it is another.
MEASURED_AS = {"gemma3_text": "gemma3"}


@dataclass(frozen=True)
class Counted:
    """What was counted on a class itself.

    Attributes:
        layer: parameters of one decoder layer, on average.
        matrices: those of its matrices, as many as one token uses.
        text: parameters of the whole language model.
        wrap: the layer's class.
    """

    layer: int
    matrices: int
    text: int
    wrap: str


@dataclass(frozen=True)
class Dims:
    """Dimensions of a decoder, as its config names them.

    Attributes:
        kind: the config's model_type.
        architecture: the class.
        vision: parameters of a vision tower and its projector; the corpus is text, so they get no
            gradient, and the recipe freezes them.
        window, pattern: of Gemma's sliding attention: so many tokens back in all layers but each
            pattern-th one; 0: full attention everywhere.
        counted: where no formula knows the type.
        note: what is not sure about these numbers; "" where they are exact.
    """

    kind: str
    architecture: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    vision: int = 0
    window: int = 0
    pattern: int = 0
    counted: Counted | None = None
    note: str = ""

    @property
    def _family(self) -> tuple[bool, int, str, int, str]:
        return FAMILIES.get(self.kind, FAMILIES["llama"])

    @property
    def gated(self) -> bool:
        """Whether the MLP has three matrices (up, gate, down) rather than two."""
        return self._family[0]

    @property
    def wrap(self) -> str:
        """The layer class that FSDP2 has to wrap."""
        return self.counted.wrap if self.counted else self._family[4]

    @property
    def matrices(self) -> int:
        """Parameters of one layer's matrices: those that FLOPs are counted with."""
        if self.counted:
            return self.counted.matrices
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        mlp = (3 if self.gated else 2) * self.hidden * self.intermediate
        return self.hidden * (2 * q + 2 * kv) + mlp

    @property
    def layer(self) -> int:
        """Parameters of one layer."""
        if self.counted:
            return self.counted.layer
        _, norms, qk, more, _ = self._family
        normed = {"none": 0, "head": 2, "all": self.heads + self.kv_heads}[qk] * self.head_dim
        return self.matrices + norms * self.hidden + normed + more

    @property
    def head(self) -> int:
        """Parameters of the embedding or of the output head: a row for each token."""
        return self.vocabulary * self.hidden

    @property
    def text(self) -> int:
        """Parameters that a text corpus trains."""
        if self.counted:
            return self.counted.text
        return self.layers * self.layer + self.hidden + self.head * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """All parameters, the vision tower's too."""
        return self.text + self.vision

    def attended(self, length: float) -> float:
        """Give how many tokens a token attends to on average, over all layers together.

        Args:
            length: of a document in tokens: packed documents do not see each other.
        """
        full = length / 2
        if not self.window or not self.pattern:
            return self.layers * full
        near = full if length <= self.window else self.window * (1 - self.window / (2 * length))
        wide = self.layers // self.pattern
        return wide * full + (self.layers - wide) * near

    def flops_token(self, length: float, *, recomputed: float = 0.0) -> float:
        """Give the FLOPs that one token costs, forward and backward.

        6 for each weight of a matrix (Kaplan et al. 2020), 12 for each token attended to and each
        channel of the heads (Chowdhery et al. 2022, appendix B).

        Args:
            length: of a document in tokens.
            recomputed: how often the layers' forward pass is computed again, as checkpointing
                does; 1: 8 and 16 in place of 6 and 12.
        """
        again = 1 + recomputed / 3
        attention = 12.0 * self.heads * self.head_dim * self.attended(length)
        return again * (6.0 * self.layers * self.matrices + attention) + 6.0 * self.head


def of(recipe: Recipe) -> Dims:
    """Give the dimensions of a recipe's base model.

    Raises:
        KitError: the recipe names no config, or it lacks a dimension.
    """
    model = recipe.table("model")
    key = "config" if model.get("source") == "random" else "shape"
    if model.get(key):
        return read(Path(model[key]))
    folder = Path(str(model.get("base", ""))).expanduser()
    if key == "shape" and folder.is_dir():
        return read(folder / "config.json")
    raise KitError(
        f"recipe {recipe.name} does not say the dimensions of its base model",
        where=f"model.{key}",
        fix=f"write them as a Hugging Face config and name the file: model.{key}",
    )


def read(path: Path) -> Dims:
    """Read the dimensions from a config.json.

    Raises:
        KitError: it is missing, no JSON, of a type that transformers does not know, or lacks a
            dimension.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return parse(config)
    except OSError as error:
        raise KitError(f"the config cannot be read: {error.strerror}", where=str(path)) from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise KitError(
            "the config does not give a model's dimensions",
            where=str(path),
            cause=f"{type(error).__name__}: {error}",
            fix="a Hugging Face config.json of a decoder that the pinned transformers knows",
        ) from None


def parse(config: Mapping[str, Any]) -> Dims:
    """Take the dimensions from a config that was read.

    Raises:
        KeyError, TypeError, ValueError: a dimension is missing or no whole number above 0.
    """
    kind = str(config["model_type"])
    if kind not in FAMILIES:
        return by_class(config)
    text = config.get("text_config", config)
    heads, hidden = _count(text, "num_attention_heads"), _count(text, "hidden_size")
    vision = config.get("vision_config")
    return Dims(
        kind=kind,
        architecture=str(config["architectures"][0]),
        layers=_count(text, "num_hidden_layers"),
        hidden=hidden,
        intermediate=_count(text, "intermediate_size"),
        heads=heads,
        kv_heads=_count(text, "num_key_value_heads"),
        head_dim=_count(text, "head_dim") if text.get("head_dim") else hidden // heads,
        vocabulary=_count(text, "vocab_size"),
        tied=bool(config.get("tie_word_embeddings", kind in GEMMA)),
        vision=_vision(vision, hidden) if vision else 0,
        window=int(text.get("sliding_window") or 0),
        pattern=int(text.get("sliding_window_pattern") or 6) if kind in GEMMA else 0,
    )


def by_class(config: Mapping[str, Any]) -> Dims:
    """Take the dimensions from a config of any type, counted on its class.

    Raises:
        ValueError, AttributeError: transformers does not know the type, or it has no dimensions.
    """
    from launch.inputs import dims_class

    said, counted, note = dims_class.read(config)
    return Dims(**said, counted=Counted(**counted) if counted else None, note=note)


def _count(table: Mapping[str, Any], key: str) -> int:
    value = table[key]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{key} is {value!r}, not a whole number above 0")
    return value


def _vision(config: Mapping[str, Any], hidden: int) -> int:
    """Count a SigLIP tower's parameters, with Gemma's projector to `hidden`."""
    d, inner = _count(config, "hidden_size"), _count(config, "intermediate_size")
    patch = _count(config, "patch_size")
    layer = 4 * (d * d + d) + 2 * d * inner + d + inner + 4 * d
    patches = (_count(config, "image_size") // patch) ** 2
    tower = _count(config, "num_hidden_layers") * layer + 3 * patch * patch * d + d
    # Transformers' tower pools by attention unless the config says otherwise, as Gemma's does.
    pool = 4 * (d * d + d) + 2 * d * inner + d + inner + 3 * d
    return (
        tower
        + patches * d
        + 2 * d
        + d * hidden
        + d
        + pool * bool(config.get("vision_use_head", True))
    )


#: What a model folder is held to, by the config's key.
_KEYS = {"num_hidden_layers": "layers", "hidden_size": "hidden", "intermediate_size":
         "intermediate", "num_attention_heads": "heads", "num_key_value_heads": "kv_heads",
         "vocab_size": "vocabulary"}  # fmt: skip


def check_folder(recipe: Recipe, folder: Path) -> None:
    """Hold the config of a model folder against the recipe, before anything is trained on it.

    A config may leave out what is its class's default (Gemma 3's leaves out the vocabulary): only
    what it says is compared, but it has to name its class and its layers. A recipe that says no
    dimensions (`model.shape`) takes any class.

    Raises:
        KitError: class, layers, vocabulary or another dimension is not the recipe's, or turns are
            trained on and nothing says how they are written.
    """
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        text = config.get("text_config", config)
        said = {name: text[key] for key, name in _KEYS.items() if key in text}
        said["architecture"] = config["architectures"][0]
        said["layers"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise KitError(
            "this is no model folder", where=str(file), cause=f"{type(error).__name__}: {error}",
            fix="give a folder with config.json, tokenizer and safetensors",
        ) from None  # fmt: skip
    model = recipe.table("model")
    if model.get("shape") or model.get("source") == "random":
        wanted = of(recipe)
        for name, here in sorted(said.items()):
            there = getattr(wanted, name)
            if here != there:
                raise KitError(
                    f"this is not the base model of recipe {recipe.name}: {name} is {here!r}, the "
                    f"recipe has {there!r}",
                    where=str(file),
                    cause="another model's folder, or another size of the same family",
                    fix="give the right folder as model.base, or say that another is meant: "
                    "--set model.shape= (its dimensions are then its own config's)",
                )
    turns = recipe.table("train").get("chat_template") or model.get("chat_template")
    if not turns and (folder / "tokenizer_config.json").is_file() and not has_template(folder):
        raise KitError(
            "this base model has no chat template: nothing says how turns are written",
            where=str(folder),
            cause="a pretrained base that was never taught to answer has none",
            fix="--set train.chat_template=NAME of Axolotl, or a recipe with model.chat_template",
        )


def has_template(folder: Path) -> bool:
    """Whether a model folder says how turns are written."""
    if (folder / "chat_template.jinja").is_file():
        return True
    try:
        told = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(isinstance(told, dict) and told.get("chat_template"))
