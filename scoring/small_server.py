"""Real weights behind vLLM's chat protocol, on a machine without a GPU.

    python -m scoring.small_server MODEL --port 8600

Not `transformers serve`: version 5.16 sets a request's seed when it arrives and samples later, in
another thread, so that which reply gets which seed hangs on what else is asked; and a temperature
above 0 has no effect unless the model's own generation_config.json samples already. Here requests
are answered one after the other, each with its own seed set before its first token: the same
request gets the same reply, whatever else is asked, and in whatever order.

As vLLM with `--generation-config vllm`: what the model's folder says about sampling (top_k, top_p)
is left out, its tokens that end a turn are kept. A request whose prompt and max_tokens do not fit
into the window together is refused; POST /tokenize says how many tokens a request has.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from scoring.chat_server import BadRequestError, Server, completion, end_with_parent

#: vLLM's, for a model whose configuration says nothing.
UNKNOWN_WINDOW = 2048


class ModelServer(Server):
    """Answers with a model.

    Args:
        port: where; 0: any that is free.
        model: a folder that AutoModelForCausalLM and AutoTokenizer load (safetensors).
        dtype: of the weights: float32, bfloat16, float16 or auto.
        max_length: most tokens of prompt and reply; 0: the model's own window.
        count: file that gets a line for each answered request.
        name: of the model, as requests have to call it; "": any name will do.
    """

    def __init__(
        self, port: int, model: Path, *, dtype: str = "auto", max_length: int = 0,
        count: Path | None = None, name: str = "",
    ) -> None:  # fmt: skip
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        loaded = AutoModelForCausalLM.from_pretrained(model, dtype=dtype, use_safetensors=True)
        self.model: Any = loaded.to(device).eval()
        self.max_length = max_length or own_window(loaded.config)
        super().__init__(port, lambda _: "", count, name)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Generate, up to max_tokens; without one, until the window is full."""
        temperature, seed = float(request.get("temperature", 1.0)), int(request.get("seed", 0))
        prompt = self.prompt(request)
        asked = int(prompt.shape[1])
        most = request.get("max_tokens", max(1, self.max_length - asked))
        if not isinstance(most, int) or most < 1 or not 0 <= temperature <= 2:
            raise BadRequestError(
                f"max_tokens {most!r} or temperature {temperature!r} is out of range"
            )
        if asked + most > self.max_length:
            raise BadRequestError(
                f"the prompt has {asked:,} tokens and {most:,} are asked for, the model takes "
                f"{self.max_length:,} with its reply"
            )
        new = self._generate(prompt, temperature, most, seed)
        ended = bool(len(new)) and int(new[-1]) in self._ends()
        # The token that ends a reply is no part of its text, special tokens in it or not.
        text = self.tokenizer.decode(
            new[:-1] if ended else new,
            skip_special_tokens=request.get("skip_special_tokens", True) is True,
        )
        return completion(text, "stop" if ended else "length", len(new), asked)

    def tokenize(self, request: dict[str, Any]) -> dict[str, Any]:
        """Count a request's tokens, however many, and say how many the model takes."""
        tokens = self.prompt(request)[0].tolist()
        return {"count": len(tokens), "max_model_len": self.max_length, "tokens": tokens}

    def prompt(self, request: dict[str, Any]) -> Any:
        """Give a request's token ids, (1, tokens), on the model's device.

        As vLLM does it: the template is rendered to text, and that is tokenised. The tokenizer adds
        special tokens of its own only where the request has `add_special_tokens`.

        Raises:
            BadRequestError: the chat template refuses the messages.
        """
        try:
            text = self.tokenizer.apply_chat_template(
                request["messages"], add_generation_prompt=True, tokenize=False
            )
        except Exception as error:  # noqa: BLE001 - a template may raise whatever its author chose
            raise BadRequestError(f"the chat template refuses these messages: {error}") from None
        own = request.get("add_special_tokens", False) is True
        found = self.tokenizer(text, add_special_tokens=own, return_tensors="pt")
        return found["input_ids"].to(self.model.device)

    def _ends(self) -> list[int]:
        ids = self.model.generation_config.eos_token_id
        return ids if isinstance(ids, list) else [] if ids is None else [ids]

    def _generate(self, prompt: Any, temperature: float, most: int, seed: int) -> Any:
        import torch
        from transformers import GenerationConfig

        own = self.model.generation_config
        sampling = (
            {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
        )
        config = GenerationConfig(
            max_new_tokens=most, eos_token_id=self._ends() or None, pad_token_id=own.pad_token_id,
            bos_token_id=own.bos_token_id, top_k=0, top_p=1.0, **sampling,
        )  # fmt: skip
        with self.lock, torch.inference_mode():
            torch.manual_seed(seed)
            out = self.model.generate(
                prompt, attention_mask=torch.ones_like(prompt), generation_config=config
            )
        return out[0, prompt.shape[1] :]


def own_window(config: Any) -> int:
    """Give the tokens that a model takes by its own configuration, as vLLM derives them.

    Args:
        config: transformers', of the whole model or of its text.
    """
    text = config.get_text_config()
    length = getattr(text, "max_position_embeddings", None)
    if not isinstance(length, int) or length < 1:
        return UNKNOWN_WINDOW
    ropes = getattr(text, "rope_parameters", None) or {}
    for rope in ropes.values() if all(isinstance(r, dict) for r in ropes.values()) else (ropes,):
        # Of the other kinds, and of Gemma 3, max_position_embeddings is the scaled window already.
        if rope.get("rope_type") in ("linear", "dynamic") and "gemma3" not in text.model_type:
            return int(length * float(rope.get("factor") or 1.0))
    return length


def main() -> None:
    """Serve until killed, or until the process that started this one has gone."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--max-length", type=int, default=0, help="0: the model's own window")
    parser.add_argument("--name", default="", help="as requests have to call the model")
    parser.add_argument("--count", type=Path, help="gets a line for each answered request")
    options = parser.parse_args()
    end_with_parent()
    print(f"loading {options.model}", flush=True)
    server = ModelServer(
        options.port, options.model, dtype=options.dtype, max_length=options.max_length,
        count=options.count, name=options.name,
    )  # fmt: skip
    print(f"ready at {server.url}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
