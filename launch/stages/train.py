"""Stage train: Axolotl under torchrun, then the shards merged into one safetensors model.

The configuration that Axolotl reads is the recipe's `train` table with this run's paths, the
accumulation that keeps the global batch, and two plugins: one that watches, one that lifts
Axolotl's GPU assumptions where there is no GPU and does nothing where there is one.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.errors import KitError
from kit.files import digest, sha256_file, write_text
from launch.inputs import base_model as fetch
from launch.inputs import dims
from launch.run import attempt, image, tracking
from launch.run.identity import Place
from launch.run.recipe import ROOT, Recipe
from launch.run.site import Site, minutes
from launch.stages import checkpoints, envelope

if TYPE_CHECKING:
    from launch.run.folder import Run
    from launch.stages.stage import Context, Outputs

PLUGINS = ["launch.stages.axolotl_watch.WatchPlugin", "launch.stages.axolotl_cpu.CpuPlugin"]
#: Axolotl's keys that say where things are; they are the run's, not the recipe's.
TOKENIZER_FILES = (
    "tokenizer*",
    "special_tokens_map.json",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "*processor_config.json",
)
#: How safetensors and configurations call a dtype.
DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
#: Bytes below which a safetensors file holds a header and no weights.
_EMPTY = 4096


def accumulation(recipe: Recipe, site: Site) -> int:
    """Give the accumulation steps that keep the recipe's global batch at this site's shape.

    Raises:
        KitError: no whole number of steps keeps it.
    """
    batch = int(recipe.table("shape")["global_batch"])
    micro = int(recipe.table("train")["micro_batch_size"])
    steps, rest = divmod(batch, micro * site.world_size)
    if rest or not steps:
        raise KitError(
            f"one optimiser step is {batch} packed sequences; {site.world_size} ranks with micro "
            f"batch {micro} cannot keep that",
            where=f"recipe {recipe.name}, site {site.name}",
            cause=f"{batch} / ({site.world_size} x {micro}) is not a whole number",
            fix="choose another number of ranks, or --set train.micro_batch_size=N",
        )
    return steps


def axolotl_config(
    recipe: Recipe, site: Site, *, base: str, train_file: Path, folder: Path, name: str
) -> dict[str, Any]:
    """Give the whole configuration that Axolotl reads.

    Args:
        base: folder or hub name of the base model.
        train_file: the corpus stage's train.jsonl.
        folder: the stage's folder.
        name: the run's name, also its name in W&B.
    """
    config: dict[str, Any] = copy.deepcopy(recipe.table("train"))
    config["base_model"] = base
    for entry in config["datasets"]:
        entry["path"] = str(train_file)
    config["gradient_accumulation_steps"] = accumulation(recipe, site)
    config["dataset_prepared_path"] = str(folder / "prepared")
    config["output_dir"] = str(folder / "output")
    sharding = config.get("fsdp_config")
    if sharding and "transformer_layer_cls_to_wrap" not in sharding:
        sharding["transformer_layer_cls_to_wrap"] = dims.of(recipe).wrap
    config["plugins"] = [*config.get("plugins", []), *PLUGINS]
    config.update(tracking.axolotl_keys(recipe.name, name))
    return config


def command(site: Site, config: Path) -> list[str]:
    """Give the torchrun command of one node.

    Its ranks meet at this address: left to itself torchrun gives them the host's name, which a
    container's own is often not known by, and then they wait for minutes and fail.
    """
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--local-addr=127.0.0.1",
        f"--nnodes={site.nodes}",
        f"--nproc-per-node={site.processes_per_node}",
        "-m",
        "axolotl.cli.train",
        str(config),
    ]


def environment(recipe: Recipe, run_path: Path, corpus: str | None = None) -> dict[str, str]:
    """What Axolotl, its libraries and its plugins need to hear, beside the site's environment.

    Args:
        recipe: that is trained.
        run_path: the run's folder.
        corpus: sha256 of the rows, where they are prepared: loss bands belong to theirs.
    """
    box, _ = envelope.for_ranks(
        recipe.table("envelope"), corpus=corpus, asked="envelope.bands" in recipe.settings
    )
    return {
        "AXOLOTL_DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",  # everything was fetched before: no stage waits for a network
        "MFO_PROGRESS_DIR": str(run_path / "train"),
        envelope.VARIABLE: json.dumps(box),
        # DeepSpeed otherwise looks for a GPU's libraries first, and may find some that do not work.
        **({} if recipe.table("shape")["gpus"] else {"DS_ACCELERATOR": "cpu"}),
        **tracking.environment(run_path),
    }


def check_rows(recipe: Recipe, rows: int, ranks: int, where: str) -> None:
    """Refuse a corpus that cannot give every rank one packed micro batch.

    A packed sequence holds at least one row, so fewer rows are certainly too few.

    Raises:
        KitError: there are fewer rows than ranks times micro batch.
    """
    micro = int(recipe.table("train")["micro_batch_size"])
    if rows < ranks * micro:
        raise KitError(
            f"the corpus is too small: {rows:,} rows, and one packed batch for each of {ranks} "
            f"ranks with micro batch {micro} takes at least {ranks * micro:,}",
            where=where,
            cause="each packed sequence holds a row or more, and every rank needs its own",
            fix="a larger corpus, fewer nodes (--nodes N), or --set train.micro_batch_size=N",
        )


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What decides the weights.

    Attributes:
        train: the recipe's table, Axolotl's keys.
        shape: the recipe's table.
        ranks: nodes, processes a node, GPUs a node.
        model: what decides the base model.
        corpus: sha256 of train.jsonl.
        packages: versions that make the weights; in a container those inside the image.
        image: sha256 of the container image; None without one.
        rows: of the corpus.
        rows_file: train.jsonl.
        recipe: its tables train, shape, model and envelope; the last stops a run and changes none.
    """

    train: dict[str, Any]
    shape: dict[str, Any]
    ranks: tuple[int, int, int]
    model: dict[str, Any]
    corpus: str | None
    packages: dict[str, str]
    image: dict[str, Any] | None = None
    rows: Place[int | None]
    rows_file: Place[Path]
    recipe: Place[Recipe]

    def shaped(self, site: Site) -> Site:
        """Give the site with these ranks."""
        nodes, processes, gpus = self.ranks
        return replace(site, nodes=nodes, processes_per_node=processes, gpus_per_node=gpus)

    def resolved(self) -> Recipe:
        """Give the recipe with these tables."""
        data = {**self.recipe.data, "train": self.train, "shape": self.shape}
        return replace(self.recipe, data=data)


def inputs(run: Run) -> Inputs:
    """Read recipe, shape, base model, corpus and versions."""
    recipe, site, corpus = run.recipe, run.site, run.facts("corpus")
    return Inputs(
        train=recipe.table("train"),
        shape=recipe.table("shape"),
        ranks=(site.nodes, site.processes_per_node, site.gpus_per_node),
        model=fetch.base_model_identity(recipe),
        corpus=corpus.get("sha256"),
        packages={k: v for k, v in run.packages("train").items() if k not in ("wandb", "lm_eval")},
        image=image.deciding(run.images, "train"),
        rows=corpus.get("rows"),
        rows_file=run.folder("corpus") / "train.jsonl",
        recipe=recipe.only("train", "shape", "model", "envelope"),
    )


def execute(inputs: Inputs, context: Context) -> Outputs:
    """Train (from the last whole checkpoint, if there is one) and merge into train/model."""
    folder, site, recipe = context.folder, inputs.shaped(context.site), inputs.resolved()
    print(image.words(inputs.packages, inputs.image), flush=True)
    base = fetch.base_model(recipe, site, inputs.model)
    dims.check_folder(recipe, base)
    if inputs.rows:  # fewer than there were, after decontamination
        check_rows(recipe, inputs.rows, site.world_size, str(inputs.rows_file.parent))
    for line in checkpoints.set_aside_broken(folder / "output"):
        print(f"set aside: {line}", flush=True)
    last = checkpoints.last_whole(folder / "output")
    print(f"\nstart: {f'resuming from {last.name}' if last else 'from the base model'}", flush=True)
    config = axolotl_config(
        recipe, site, base=str(base), train_file=inputs.rows_file, folder=folder, name=context.name
    )
    file = folder / "axolotl.yaml"
    write_text(file, to_yaml(config))
    asked = "envelope.bands" in recipe.settings
    _, held = envelope.for_ranks(recipe.table("envelope"), corpus=inputs.corpus, asked=asked)
    if held:
        print(held, flush=True)
    env = {
        **os.environ,
        **environment(recipe, context.run, inputs.corpus),
        **attempt.variables(folder, site),
    }
    # On Slurm every node runs a torchrun of its own; this process is node 0's.
    meeting = attempt.publish(folder, file, _step(last))
    here = attempt.torchrun(site, file, folder, meeting) if meeting else command(site, file)
    call(here, env, folder, "training")
    attempt.raise_if_stopped(folder)
    model = _merge(recipe, folder, file, base, env)
    weights = {p: sha256_file(p) for p in sorted(model.iterdir()) if p.is_file()}
    files: dict[Path, str | None] = {**weights, file: None, folder / "progress.jsonl": None}
    shards = {p.name: h for p, h in weights.items() if p.suffix == ".safetensors"}
    return files, {"weights": digest(shards), "model": str(model)}


def needs(recipe: Recipe) -> list[str]:
    """Packages that are imported; looked for before a run is made, as training takes hours."""
    return ["torch", "axolotl", *(["deepspeed"] if recipe.table("train").get("deepspeed") else [])]


def describe(recipe: Recipe, site: Site) -> list[str]:
    """Say how the recipe is trained on this site, and why so.

    Raises:
        KitError: the site has no GPUs, or no number of ranks that keeps the batch.
    """
    train, out = recipe.table("train"), list[str]()
    gpus = int(recipe.table("shape")["gpus"])
    if gpus and not site.gpus_per_node:
        raise KitError(
            f"{recipe.title} is trained on {gpus} GPUs; site {site.name} has none",
            where=f"recipe {recipe.name}",
            fix="mfo run smoke walks the same path in miniature; "
            f"mfo run {recipe.name} --dry-run shows what a cluster would run",
        )
    steps, micro = accumulation(recipe, site), train["micro_batch_size"]
    out.append(
        f"ranks: {site.world_size} on {site.title}, as site {site.name} says; accumulation "
        f"{steps} = global batch {recipe.table('shape')['global_batch']} / "
        f"({site.world_size} ranks x micro batch {micro})"
    )
    out.append(
        f"attention: {train.get('attn_implementation')}; bf16: {train.get('bf16')}; "
        "both as the recipe says"
    )
    box = envelope.parse(recipe.table("envelope"), f"recipe {recipe.name}")
    if box.rise or box.ceilings:
        words = [f"rises above {box.rise:g} times its beginning"] if box.rise else []
        words += [f"is above {top:g} after step {step}" for step, top in box.ceilings]
        out.append(
            f"envelope: training stops where its loss {' or '.join(words)} (median of "
            f"{box.window} steps), as the recipe says"
        )
    if box.bands:
        where = Path(recipe.table("envelope")["bands"])
        out.append(f"loss bands: {envelope.words(box.bands, where)}")
    if site.scheduler == "slurm":
        out.append(
            f"checkpoints: every {train.get('save_steps')} steps, and at the latest after a "
            f"twelfth of the time limit of {minutes(site, 'train')} min or when it is near"
        )
    out.append(tracking.reason())
    return out


def to_yaml(config: dict[str, Any]) -> str:
    """Give the configuration as the file that Axolotl reads, keys in the recipe's order."""
    import yaml

    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


def _merge(recipe: Recipe, folder: Path, config: Path, base: Path, env: dict[str, str]) -> Path:
    """Merge the last checkpoint's shards; the result is whole or not there."""
    merged, model = folder / "output" / "merged", folder / "model"
    shutil.rmtree(merged, ignore_errors=True)
    if recipe.table("train").get("deepspeed"):
        _gathered(folder / "output", merged)
    else:
        call(
            [sys.executable, "-m", "axolotl.cli.merge_sharded_fsdp_weights", str(config)],
            # One process: what torchrun set for its ranks must not be believed here.
            {**env, "WANDB_MODE": "disabled"},
            folder,
            "merging",
        )
    # Axolotl writes the weights alone; a model folder also needs configuration and tokenizer.
    for pattern in TOKENIZER_FILES:
        for source in (base, folder / "output"):
            for path in source.glob(pattern):
                shutil.copyfile(path, merged / path.name)
    say_dtype(merged)
    shutil.rmtree(model, ignore_errors=True)
    merged.rename(model)
    return model


def say_dtype(folder: Path) -> None:
    """Make a folder's config.json name the dtype that its weights have.

    Axolotl 0.19.0, cli/merge_sharded_fsdp_weights.py casts what it merges to bfloat16, while the
    configuration still says what was trained in: who loads by it would take twice the memory. (It
    also writes a tied head a second time. That stays: the weights' hash would be another one.)
    """
    shards, file = sorted(folder.glob("*.safetensors")), folder / "config.json"
    if not shards or not file.is_file():
        return
    with shards[0].open("rb") as data:
        header = json.loads(data.read(int.from_bytes(data.read(8), "little")))
    kinds = Counter(one["dtype"] for name, one in header.items() if name != "__metadata__")
    dtype = DTYPES.get(kinds.most_common(1)[0][0]) if kinds else None
    config = json.loads(file.read_text(encoding="utf-8"))
    for table in (config, *(v for v in config.values() if isinstance(v, dict))):
        for key in ("dtype", "torch_dtype"):
            if dtype and table.get(key) not in (None, dtype):
                table[key] = dtype
    write_text(file, json.dumps(config, indent=2) + "\n")


def _gathered(output: Path, merged: Path) -> None:
    """Take the weights that DeepSpeed's ranks gathered while saving: there is nothing to merge.

    Raises:
        KitError: none are there, or only the placeholders of sharded weights.
    """
    shards = sorted(output.glob("*.safetensors"))
    if not shards or all(p.stat().st_size < _EMPTY for p in shards):
        raise KitError(
            "DeepSpeed wrote no gathered weights",
            where=str(output),
            cause="stage3_gather_16bit_weights_on_model_save is off, or the last save was cut",
            fix="switch it on in the recipe's train.deepspeed, then mfo resume",
        )
    merged.mkdir()
    for path in [*shards, *output.glob("*.safetensors.index.json")]:
        path.rename(merged / path.name)


def _step(checkpoint: Path | None) -> int:
    return int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0


def call(command: list[str], env: dict[str, str], folder: Path, what: str) -> None:
    """Run one of training's commands with the kit on its path.

    Raises:
        KitError: it ended with another exit code than 0.
    """
    print("$ " + " ".join(command), flush=True)
    env = {**env, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")]))}
    process = attempt.popen(command, env, folder)
    try:
        code = process.wait()
    except BaseException:
        process.terminate()
        raise
    if code:
        raise KitError(
            f"{what} ended with exit code {code}",
            where=str(folder / "log"),
            cause=_cause(folder / "log", code),
            fix=f"mfo logs {folder.parent.name} train; then mfo resume {folder.parent.name}",
        )


def _cause(log: Path, code: int) -> str:
    """Give the log's last line that names an error; the whole diagnosis is the log's."""
    if code < 0:
        return f"it was killed by signal {-code}" + (" (out of memory?)" if code == -9 else "")
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    named = [line.strip() for line in lines if "Error" in line and "torch.distributed" not in line]
    # torchrun closes with a summary of its own; the first rank's error stands above it.
    named = [line for line in named if "ChildFailedError" not in line]
    return named[-1][-300:] if named else ""
