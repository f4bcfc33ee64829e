"""Real weights behind vLLM's chat protocol, on a machine without a GPU.

    python -m checks.benchmarks.small_server MODEL --port 8600

Not `transformers serve`: version 5.16 sets a request's seed when it arrives and samples later, in
another thread, so that which reply gets which seed hangs on what else is asked; and a temperature
above 0 has no effect unless the model's own generation_config.json samples already. Here requests
are answered one after the other, each with its own seed set before its first token: the same
request gets the same reply, whatever else is asked, and in whatever order.

As vLLM with `--generation-config vllm`: what the model's folder says about sampling (top_k, top_p)
is left out, its tokens that end a turn are kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from checks.benchmarks.chat_server import BadRequestError, Server, completion, end_with_parent


class ModelServer(Server):
    """Answers with a model.

    Args:
        port: where; 0: any that is free.
        model: a folder that AutoModelForCausalLM and AutoTokenizer load (safetensors).
        dtype: of the weights: float32, bfloat16, float16 or auto.
        max_length: most tokens of prompt and reply.
        count: file that gets a line for each answered request.
    """

    def __init__(
        self, port: int, model: Path, *, dtype: str = "auto", max_length: int = 4096,
        count: Path | None = None,
    ) -> None:  # fmt: skip
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        loaded = AutoModelForCausalLM.from_pretrained(model, dtype=dtype, use_safetensors=True)
        self.model: Any = loaded.to(device).eval()
        self.max_length = max_length
        super().__init__(port, lambda _: "", count)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Generate; the reply is cut where max_tokens or the model's length is reached."""
        temperature, seed = float(request.get("temperature", 1.0)), int(request.get("seed", 0))
        most = request.get("max_tokens", 256)
        if not isinstance(most, int) or most < 1 or not 0 <= temperature <= 2:
            raise BadRequestError(
                f"max_tokens {most!r} or temperature {temperature!r} is out of range"
            )
        try:
            inputs = self.tokenizer.apply_chat_template(
                request["messages"], add_generation_prompt=True, return_tensors="pt",
                return_dict=True,
            ).to(self.model.device)  # fmt: skip
        except Exception as error:  # noqa: BLE001 - a template may raise whatever its author chose
            raise BadRequestError(f"the chat template refuses these messages: {error}") from None
        asked = int(inputs["input_ids"].shape[1])
        if asked >= self.max_length:
            raise BadRequestError(f"the prompt has {asked:,} tokens, the model takes "
                                  f"{self.max_length:,} with its reply")  # fmt: skip
        new = self._generate(inputs, temperature, min(most, self.max_length - asked), seed)
        ended = bool(len(new)) and int(new[-1]) in self._ends()
        text = self.tokenizer.decode(new, skip_special_tokens=True)
        return completion(text, "stop" if ended else "length", len(new))

    def _ends(self) -> list[int]:
        ids = self.model.generation_config.eos_token_id
        return ids if isinstance(ids, list) else [] if ids is None else [ids]

    def _generate(self, inputs: Any, temperature: float, most: int, seed: int) -> Any:
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
            out = self.model.generate(**inputs, generation_config=config)
        return out[0, inputs["input_ids"].shape[1] :]


def main() -> None:
    """Serve until killed, or until the process that started this one has gone."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--max-length", type=int, default=4096)
    parser.add_argument("--count", type=Path, help="gets a line for each answered request")
    options = parser.parse_args()
    end_with_parent()
    print(f"loading {options.model}", flush=True)
    server = ModelServer(
        options.port, options.model, dtype=options.dtype, max_length=options.max_length,
        count=options.count,
    )  # fmt: skip
    print(f"ready at {server.url}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
