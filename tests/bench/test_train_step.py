"""bench/train_step.py stays alive on a CPU: what it computes, compares, counts and refuses."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("torch")

import torch

from bench import train_step
from bench.step import clock, model, variants
from bench.step.clock import Measured
from bench.step.variants import Variant
from launch.inputs import dims

TINY = ["--device", "cpu", "--layers", "2", "--tiny", "--steps", "1", "--warm", "0", "--micro", "2"]


@pytest.fixture(scope="module", params=["gemma-3-27b", "apertus-8b"])
def piece(request: pytest.FixtureRequest) -> Any:
    text, whole = model.shape(request.param, tiny=True)
    return text, whole, model.build(text, 1, "cpu", torch.float32)


def test_a_slice_has_the_size_that_is_counted(piece: Any) -> None:
    _, whole, built = piece
    assert built.num_parameters() == model.sliced(whole, 1).text


def test_packed_documents_do_not_see_each_other(piece: Any) -> None:
    text, _, built = piece
    batch = model.pack(text["vocab_size"], model.TINY_LENGTH, 1, "cpu")
    assert sum(batch.documents) == model.TINY_LENGTH
    assert len(batch.documents) > 2
    first = batch.documents[0]
    other = batch.tokens.clone()
    other[0, :first] = (other[0, :first] + 1) % text["vocab_size"]
    variants.apply(built, Variant(attention="sdpa", checkpointing="none"))
    with torch.no_grad():
        a, b = (built.model(input_ids=t, position_ids=batch.positions).last_hidden_state
                for t in (batch.tokens, other))  # fmt: skip
    assert not torch.equal(a[0, :first], b[0, :first])
    assert torch.equal(a[0, first:], b[0, first:])
    assert (batch.labels[0, first - 1], batch.labels[0, 0]) == (-100, -100)


def test_a_variant_that_fails_does_not_take_the_others_with_it(
    piece: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, _, built = piece
    batch = model.pack(text["vocab_size"], model.TINY_LENGTH, 1, "cpu")
    way = Variant(attention="sdpa", checkpointing="none")
    assert not clock.measure(built, batch, way, steps=1, warm=0).skipped

    def broken(*_: Any) -> None:
        raise RuntimeError("a kernel of the compiler\nwith a long story")

    monkeypatch.setattr(clock, "apply", broken)
    done = clock.measure(built, batch, way, steps=1, warm=0)
    assert done.skipped == "fails: a kernel of the compiler"


def test_checkpointing_twice_computes_the_same_with_more_flops(piece: Any) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    text, _, built = piece
    batch = model.pack(text["vocab_size"], model.TINY_LENGTH, 1, "cpu")
    flops, found = {}, {}
    for policy in ("none", "full", "twice"):
        with FlopCounterMode(display=False) as counter:
            found[policy] = clock.measure(
                built, batch, Variant(attention="sdpa", checkpointing=policy), steps=1, warm=0
            )
        flops[policy] = counter.get_total_flops()
    assert flops["none"] < flops["full"] < flops["twice"]
    assert found["twice"].loss == found["none"].loss
    assert clock.apart(found["twice"], found["none"])[1] < 1e-6


def test_flops_are_those_of_the_matrices_and_of_what_is_attended_to() -> None:
    of = replace(dims.read(Path("recipes/apertus-8b/shape.json").resolve()), layers=2)
    batch = model.Batch(torch.zeros(1, 30), torch.zeros(1, 30), torch.zeros(1, 30), [10, 20])
    norms = 2 * (2 * of.hidden + 2 * of.head_dim + 2) + of.hidden
    matrices = of.text - norms - of.head  # the embedding is looked up
    assert model.flops(of, batch) == 6 * matrices * 30 + 12 * 32 * 128 * 2 * (55 + 210)
    sliding = model.flops(of, batch, window=5, pattern=2)
    assert sliding == 6 * matrices * 30 + 12 * 32 * 128 * (55 + 210 + 15 + 5 * 5 + 15 + 15 * 5)


def test_the_whole_model_from_two_slices() -> None:
    of = dims.read(Path("recipes/apertus-8b/shape.json").resolve())
    long = Measured(Variant(), forward_s=1.0, optimiser_s=0.5, tokens=4096)
    short = replace(long, forward_s=0.6)
    made = clock.extrapolate(long, short, (4, 2), of, of.text // 10, gpus=32,
                             global_tokens=256 * 4096, bandwidth=20e9)  # fmt: skip
    assert made.compute_s == pytest.approx(8 * (0.2 * 32 + 0.2) + 0.5 * 10 / 32, rel=1e-3)
    assert made.network_s == pytest.approx(8 * 6 * of.text * 31 / 32 / 20e9)
    assert made.range_s[0] == max(made.compute_s, made.network_s)


def test_what_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    named = variants.absent("cpu", compile_too=False)
    assert set(named) == {"attention flash_attention_2", "attention flex_attention", "loss chunked",
                          "loss liger", "loss cut-cross-entropy", "compiled True"}  # fmt: skip
    monkeypatch.setattr(variants, "find_spec", lambda _name: None)
    on_gpu = variants.absent("cuda")
    assert "flash-attn is not installed" in on_gpu["attention flash_attention_2"]
    assert "Axolotl's fork" in on_gpu["loss cut-cross-entropy"]
    monkeypatch.setattr(variants.shutil, "which", lambda _name: None)
    assert "C++ compiler" in variants.absent("cpu")["compiled True"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--device", "cuda"], "no GPU here"),
        (["--device", "cpu"], "hours on a CPU"),
        (["--device", "cpu", "--tiny", "--layers", "0"], "at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    with pytest.raises(SystemExit) as end:
        train_step.main(arguments)
    assert end.value.code == 2
    assert says in capsys.readouterr().err
    assert train_step.main(["--device", "cpu", "--tiny", "--recipe", "gemma"]) == 2
    assert "nearest: gemma-3-27b" in capsys.readouterr().err


@pytest.mark.slow  # ten seconds alone
def test_the_program_runs_and_sees_a_variant_that_computes_something_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train_step.main([*TINY, "--out", str(tmp_path / "step.json")]) == 0
    said = capsys.readouterr().out
    assert "skipped: Liger's kernels are Triton" in said
    assert "best: sdpa" in said
    data = json.loads((tmp_path / "step.json").read_text())
    ran = [row for row in data["rows"] if not row["skipped"]]
    assert {row["variant"]["checkpointing"] for row in ran} == {
        "twice",
        "full",
        "selective",
        "none",
    }
    assert all(row["agrees"] in (True, None) and row["tokens_s"] > 0 for row in ran)
    assert [one["gpus"] for one in data["whole"]] == [32, 64, 128, 256]

    real = variants.apply

    def wrong(of: Any, variant: Variant) -> None:
        real(of, variant)
        scale = 1.001 if variant.checkpointing == "none" else 1.0
        monkeypatch.setattr(clock, "loss_function", lambda name: lambda hidden, head, labels:
                            scale * variants.loss_function(name)(hidden, head, labels))  # fmt: skip

    monkeypatch.setattr(clock, "apply", wrong)
    assert train_step.main(TINY) == 1
    said = capsys.readouterr().out
    assert "DISAGREES: not taken" in said
    assert "checkpointing none" not in said.split("best:")[1].splitlines()[0]
