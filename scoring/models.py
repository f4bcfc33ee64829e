"""Load a model for lm-evaluation-harness: by transformers, or by vLLM with or without a GPU.

Both are run in the tests on CPUs: transformers with lm-eval 0.4.11, which Axolotl pins, and vLLM's
own build for CPUs with a newer one (constraints-serve.txt); 0.4.11 cannot import vLLM 0.30.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kit.errors import KitError
from scoring import model_folder
from scoring.context_windows import answer_what_fits

__all__ = ["BACKENDS", "CPU_ENGINE", "VLLM_SETTINGS", "load", "release", "turn_ends"]

BACKENDS = ("auto", "hf", "vllm")
#: What vLLM is told of each model, by lm-eval as by `vllm serve`: text alone is asked. Else a model
#: that sees has its vision tower loaded and profiled, and attention as images need it.
VLLM_SETTINGS = {"language_model_only": True}
#: Where vLLM computes on the CPU: GiB for its cache of keys and values. By itself it takes nearly
#: all memory of the machine, and refuses where so much is not free.
CPU_ENGINE = {"VLLM_CPU_KVCACHE_SPACE": "2"}
# Tokens that end a turn in the chat formats of the six models, where they are special tokens.
_TURN_ENDS = ("<end_of_turn>", "<|im_end|>", "<|eot_id|>", "<|assistant_end|>", "<|endoftext|>")


def load(
    model: Path,
    *,
    backend: str,
    batch_size: int,
    max_length: int,
    dtype: str,
    seed: int,
    device: str | None,
    log: Callable[[str], None],
) -> Any:
    """Load a model folder as an LM of the harness.

    Args:
        model: a folder that AutoModelForCausalLM and AutoTokenizer load (safetensors).
        backend: one of BACKENDS; auto: vLLM where it is installed and a GPU is here.
        batch_size: prompts generated at once (transformers; vLLM batches by itself).
        max_length: most tokens of prompt and response together.
        dtype: of the weights while generating.
        seed: of vLLM's engine; greedy decoding does not ask for it.
        device: "cpu", "cuda", "cuda:1"; None: the GPU where there is one.
        log: receives one line for each decision.

    Raises:
        KitError: the backend cannot run here, or the folder holds no model that loads.
    """
    model_folder.check(model, "the model")
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    which = _backend(backend, gpus, device, log)
    try:
        if which == "vllm":
            from lm_eval.models.vllm_causallms import VLLM

            if not gpus:
                log("; ".join(f"{k}={os.environ.setdefault(k, v)}" for k, v in CPU_ENGINE.items()))
            # As published: the window is the engine's, and generation ends where it is full.
            return _whole_prompts(VLLM, log)(
                pretrained=str(model),
                dtype=dtype,
                max_model_len=max_length,
                tensor_parallel_size=max(1, gpus),
                batch_size="auto",
                seed=seed,
                trust_remote_code=False,
                **VLLM_SETTINGS,
            )
        chosen = device or ("cuda" if gpus else "cpu")
        log(f"device: {chosen}" + ("" if device else ", the best that is here")
            + f"; dtype: {dtype}")  # fmt: skip
        return _windowed(log)(
            pretrained=str(model),
            device=chosen,
            dtype=dtype,
            batch_size=batch_size,
            max_length=max_length,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except (ImportError, TypeError, AttributeError) as error:
        raise _misfit(which, error) from error
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        said = str(error).splitlines() or [""]
        raise KitError(
            "The model cannot be loaded.",
            where=str(model),
            cause=f"{type(error).__name__}: {said[0][:300]}",
            fix="check that the folder holds config, tokenizer and whole safetensors files"
            + ("; the engine's own words stand above" if which == "vllm" else ""),
        ) from error


def _misfit(which: str, error: Exception) -> KitError:
    """Say that packages do not fit each other: at this seam nothing else raises these errors."""
    names = (
        "lm_eval",
        "transformers",
        "torch",
        *(("vllm",) if which == "vllm" else ("accelerate",)),
    )
    found = []
    for name in names:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"no {name}")
    pins = "make serve-cpu; constraints-serve.txt" if which == "vllm" else "constraints.txt"
    return KitError(
        f"lm-evaluation-harness and its backend {which!r} do not fit each other.",
        where=", ".join(found),
        cause=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}",
        fix=f"install the versions that were tried together ({pins}; or the eval image)",
    )


def _backend(asked: str, gpus: int, device: str | None, log: Callable[[str], None]) -> str:
    there = find_spec("vllm") is not None
    if asked == "vllm" and not (there and (gpus or _for_cpus())):
        raise KitError(
            "vLLM cannot generate here.",
            where="eval.backend = vllm",
            cause="no GPU is here, and this vLLM is not the build for CPUs" if there
            else "the package vllm is not installed",
            fix="make serve-cpu: the build for CPUs; or --set eval.backend=hf, or the eval "
            "image on a node with GPUs",
        )  # fmt: skip
    if asked == "vllm":
        log(f"backend: vLLM {metadata.version('vllm')} on "
            + (f"{gpus} GPUs" if gpus else "the CPU") + ", as eval.backend says")  # fmt: skip
    if asked != "auto":
        return asked
    if there and gpus and device is None:
        log(f"backend: vLLM on {gpus} GPUs, as published")
        return "vllm"
    why = "the device was named" if device else "no GPU is here" if there else "vLLM is not here"
    log(f"backend: transformers, because {why}")
    return "hf"


def _for_cpus() -> bool:
    return "cpu" in metadata.version("vllm")


def _whole_prompts(model: Any, log: Callable[[str], None]) -> Any:
    """Give lm-eval's vLLM model as one that cuts no prompt."""

    class Whole(model):  # type: ignore[misc]
        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
            def ask(these: list[Any]) -> list[str]:
                return list(super(Whole, self).generate_until(these, disable_tqdm=disable_tqdm))

            return answer_what_fits(ask, requests, self.tok_encode, self.max_length, log,
                                    shorten=True)  # fmt: skip

    return Whole


def _windowed(log: Callable[[str], None]) -> Any:
    """Give lm-eval's transformers model with vLLM's way to fill the window.

    The published protocol allows 4,096 new tokens in a window of 4,096. vLLM stops where prompt
    and response fill the window; lm-eval's transformers model takes the sum for a mistake and
    refuses. Here each response may be as long as the window has room behind its own prompt.
    """
    from lm_eval.models.huggingface import HFLM

    class Windowed(HFLM):  # type: ignore[misc]
        room = 0

        @property
        def max_length(self) -> int:
            # What lm-eval subtracts from this to learn how long a prompt may be is added to it.
            return int(super().max_length) + self.room

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
            def ask(these: list[Any]) -> list[str]:
                self.room = max(int(r.args[1].get("max_gen_toks") or 256) for r in these)
                try:
                    return list(super(Windowed, self).generate_until(these, disable_tqdm))
                finally:
                    self.room = 0

            return answer_what_fits(ask, requests, self.tok_encode, self.max_length, log,
                                    shorten=False)  # fmt: skip

        def _model_generate(
            self, context: Any, max_length: int, stop: list[str], **settings: Any
        ) -> Any:
            window = self.max_length - self.room
            prompts = settings["attention_mask"].sum(dim=1)
            width = context.shape[1]
            room = (window - prompts).clamp(min=0, max=max_length - width)
            if not int(room.max()):
                return context
            out = super()._model_generate(
                context, max_length=width + int(room.max()), stop=stop, **settings
            )
            for row, left in enumerate(room.tolist()):
                out[row, width + left :] = self.tokenizer.pad_token_id
            return out

    return Windowed


def release(lm: Any) -> None:
    """End a model's engine, where it has one: vLLM's own processes hold the GPUs until then.

    Dropping the object is not enough: it is part of circles, which are collected some time later.
    """
    core = getattr(getattr(getattr(lm, "model", None), "llm_engine", None), "engine_core", None)
    if core is not None:
        core.shutdown()


def turn_ends(tokenizer: Any, model: Path) -> list[str]:
    """Find the tokens that end the model's turn: its own list, and those that chat formats use."""
    found: list[str] = []
    try:
        config = json.loads((model / "generation_config.json").read_text(encoding="utf-8"))
        ids = config.get("eos_token_id") or []
        ids = ids if isinstance(ids, list) else [ids]
        found = [str(tokenizer.convert_ids_to_tokens(index)) for index in ids]
    except (OSError, ValueError):
        pass  # not every folder has one; the special tokens below serve as well
    special = set(tokenizer.all_special_tokens) | set(tokenizer.get_added_vocab())
    found += [token for token in _TURN_ENDS if token in special and token not in found]
    return found
