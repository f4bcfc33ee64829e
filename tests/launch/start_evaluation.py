"""Start each recipe's evaluation as far as a machine without a GPU can go; a program of its own.

    python start_evaluation.py < cases.json

For the environment with vLLM. Reads a list of {"name", "config", "engine", "commands"} and prints a
line of JSON for each: what vLLM made of it, or the words with which it stops. Nothing of the kit is
imported: this is the evaluation image's side. There are no weights and no tokenizer; what is read
is the model's config.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any


def main() -> None:
    """Start each case."""
    for case in json.load(sys.stdin):
        said = start(case)
        print(json.dumps({"name": case["name"], **said}), flush=True)


def start(case: dict[str, Any]) -> dict[str, Any]:
    """Give what vLLM makes of one recipe's models and commands."""
    out: dict[str, Any] = {"commands": [parsed(command) for command in case["commands"]]}
    with tempfile.TemporaryDirectory() as folder:
        # Shapes say no window: one that is larger than any that is asked for.
        config = {"torch_dtype": "bfloat16", "max_position_embeddings": 131_072, **case["config"]}
        (Path(folder) / "config.json").write_text(json.dumps(config))
        try:
            out |= engine(folder, case)
        except (RuntimeError, TypeError, ValueError) as error:
            out["stops"] = str(error).splitlines()[0][:200]
    return out


def engine(folder: str, case: dict[str, Any]) -> dict[str, Any]:
    """Resolve the class, and make the engine's whole configuration by lm-eval's arguments."""
    from vllm.engine.arg_utils import EngineArgs
    from vllm.model_executor.models import ModelRegistry

    made = EngineArgs(model=folder, skip_tokenizer_init=True, **case["engine"])
    model = made.create_model_config()
    _, architecture = ModelRegistry.resolve_model_cls(model.architectures, model)
    config = made.create_engine_config()
    return {
        "class": architecture,
        "dtype": str(model.dtype),
        "window": model.max_model_len,
        "layers": model.get_num_layers(config.parallel_config),
        "tensor_parallel": config.parallel_config.tensor_parallel_size,
        "heads": model.get_num_attention_heads(config.parallel_config),
        "device": config.device_config.device_type,
    }


def parsed(command: list[str]) -> dict[str, Any]:
    """Read a command of the kit by vLLM's own parser."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    try:
        parser = make_arg_parser(FlexibleArgumentParser(exit_on_error=False))
        given = parser.parse_args(command[2:])
    except (RuntimeError, SystemExit) as error:
        return {"stops": str(error).splitlines()[0][:200]}
    validate_parsed_serve_args(given)
    return {
        "model": given.model_tag,
        "name": given.served_model_name,
        "port": given.port,
        "tensor_parallel": given.tensor_parallel_size,
        "window": given.max_model_len,
    }


if __name__ == "__main__":
    main()
