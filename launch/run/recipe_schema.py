"""What a recipe's file may say: every table, key, type and word. `train` holds Axolotl's own keys.

docs/schemas/recipe.json is made from it. Imported where a recipe is read (kit.schema).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import field

from kit.schema import UNSET, Amount, Count, Maybe, Meta, Positive, Table

#: A value of recipe_keys.PATHS.
Path = Annotated[
    str, Meta(description="a path, relative to the file that names it, or a word such as hub")
]


class Model(Table):
    """[model]: the base model."""

    source: Maybe[Literal["hub", "random"]] = UNSET
    base: Maybe[str] = UNSET
    licence: Maybe[str] = UNSET
    revision: Maybe[str] = UNSET
    architecture: Maybe[str] = UNSET
    shape: Maybe[Path] = UNSET
    config: Maybe[Path] = UNSET
    chat_template: Maybe[Path] = UNSET
    tokenizer_texts: Maybe[Path] = UNSET
    seed: Maybe[Count] = UNSET
    weights: Maybe[Path] = UNSET


class Corpus(Table):
    """[corpus]: what is trained on."""

    sources: Maybe[Path] = UNSET
    components: Maybe[list[str]] = UNSET
    decontaminate: Maybe[Literal["off", "correct", "faithful"]] = UNSET
    threshold: Maybe[Annotated[float, Meta(gt=0, le=1)]] = UNSET
    revision: Maybe[str] = UNSET


class Shape(Table):
    """[shape]: of an optimiser step."""

    global_batch: Maybe[Count] = UNSET
    gpus: Maybe[Count] = UNSET


Loss = Annotated[float, Meta(gt=0, lt=1e308, description="a loss above 0")]
Step = Annotated[int, Meta(ge=1, description="a step from 1 on")]


class Envelope(Table):
    """[envelope]: where the loss may be (launch.stages.envelope)."""

    rise: Maybe[Amount] = UNSET
    ceilings: Maybe[list[tuple[Step, Loss]]] = UNSET
    window: Maybe[Positive] = UNSET
    bands: Maybe[Path] = UNSET


class Eval(Table):
    """[eval]: benchmarks, and how they are asked."""

    harness: Maybe[str] = UNSET
    benchmarks: Maybe[list[str]] = UNSET
    benchmark_files: Maybe[Path] = UNSET
    benchmark_revisions: Maybe[dict[str, str]] = UNSET
    limit: Maybe[Count] = UNSET
    seed: Maybe[Count] = UNSET
    tasks: Maybe[Literal["upstream", "upstream-2026-07", "kit"]] = UNSET
    chat_template: Maybe[bool] = UNSET
    extraction: Maybe[Literal["published", "robust"]] = UNSET
    pubmedqa: Maybe[Literal["auto", "test", "labeled"]] = UNSET
    backend: Maybe[Literal["auto", "hf", "vllm"]] = UNSET
    max_gen_toks: Maybe[Count] = UNSET
    max_length: Maybe[Count] = UNSET
    batch_size: Maybe[Count] = UNSET
    dtype: Maybe[str] = UNSET
    base: Maybe[bool] = UNSET


class Judge(Table):
    """[judge]: how HealthBench and Auto-MOOVE are answered, and by whom judged."""

    protocol: Maybe[Literal["published", "strict"]] = UNSET
    order: Maybe[Literal["both", "random"]] = UNSET
    temperature: Maybe[Amount] = UNSET
    max_tokens: Maybe[Count] = UNSET
    max_length: Maybe[Count] = UNSET
    bos: Maybe[Literal["published", "once"]] = UNSET
    special_tokens: Maybe[Literal["published", "dropped"]] = UNSET
    judge_temperature: Maybe[Amount] = UNSET
    warmer: Maybe[Amount] = UNSET
    judge_max_tokens: Maybe[Count] = UNSET
    judge_max_length: Maybe[Count] = UNSET
    retries: Maybe[Count] = UNSET
    concurrency: Maybe[Count] = UNSET
    grader_prompt: Maybe[Path] = UNSET
    pairs_prompt: Maybe[Path] = UNSET
    vignettes: Maybe[Path] = UNSET
    rubric: Maybe[Path] = UNSET
    canary: Maybe[Path] = UNSET
    canary_margin: Maybe[Amount] = UNSET
    base_url: Maybe[str] = UNSET
    key_env: Maybe[str] = UNSET
    model: Maybe[str] = UNSET
    revision: Maybe[str] = UNSET
    script: Maybe[Path] = UNSET
    first_bias: Maybe[Amount] = UNSET
    medgemma: Maybe[str] = UNSET
    medgemma_revision: Maybe[str] = UNSET


class Published(Table):
    """[published]: what the verdict compares with."""

    table: Maybe[str] = UNSET
    model: Maybe[str] = UNSET
    tier: Maybe[Literal["weights", "retrain"]] = UNSET
    gpu_hours: Maybe[Amount] = UNSET


class Tables(Table):
    """The tables of a resolved recipe; in a file each of them may be a part."""

    model: Maybe[Model] = UNSET
    corpus: Maybe[Corpus] = UNSET
    shape: Maybe[Shape] = UNSET
    envelope: Maybe[Envelope] = UNSET
    eval: Maybe[Eval] = UNSET
    judge: Maybe[Judge] = UNSET
    published: Maybe[Published] = UNSET
    train: Maybe[dict[str, Any]] = UNSET


class RecipeFile(Tables):
    """One file of a recipe: a recipe.toml, a part or a variant (the head of launch.run.recipe)."""

    title: Maybe[str] = UNSET
    about: Maybe[str] = UNSET
    status: Maybe[str] = UNSET
    upstream_file: Maybe[str] = UNSET
    departures: Maybe[dict[str, Any]] = UNSET
    extends: Maybe[str] = UNSET
    parts: Maybe[list[str]] = field(default=UNSET, name="with")
    needs: Maybe[list[str]] = UNSET
    unset: Maybe[list[str]] = UNSET
    append: Maybe[dict[str, list[Any]]] = UNSET
    remove: Maybe[dict[str, list[Any]]] = UNSET
