"""The variant chunked-loss trains on the same loss: Axolotl's own, against the plain one."""

from typing import Any

import pytest

pytestmark = pytest.mark.slow  # half a minute: importing Axolotl, and it compiles the chunks' loss


def classes() -> list[tuple[str, Any]]:
    """A small model of each class whose recipe can have the variant, from a seed."""
    import torch
    import transformers

    sizes = {"vocab_size": 515, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
             "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
             "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
    out = []
    for name, kind in (("ApertusForCausalLM", "apertus"), ("LlamaForCausalLM", "llama"),
                       ("Olmo2ForCausalLM", "olmo2")):  # fmt: skip
        torch.manual_seed(42)
        config = transformers.AutoConfig.for_model(kind, **sizes)
        out.append((name, getattr(transformers, name)(config).to(torch.float32)))
    return out


@pytest.mark.filterwarnings("ignore")
def test_loss_and_gradients_are_those_of_the_plain_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("axolotl")
    import torch
    from axolotl.monkeypatch.loss.chunked import patch_chunked_ce_loss_fn
    from transformers.loss import loss_utils

    torch.manual_seed(7)
    tokens = torch.randint(3, 515, (2, 131))  # no multiple of the eight chunks
    labels = tokens.clone()
    labels[:, :40] = -100  # the question
    labels[0, 100:] = -100  # padding
    trained = int((labels[:, 1:] != -100).sum())

    def run(model: Any, **more: Any) -> tuple[float, dict[str, Any]]:
        model.zero_grad()
        loss = model(input_ids=tokens, labels=labels, **more).loss
        loss.backward()
        return float(loss), {n: p.grad.clone() for n, p in model.named_parameters()}

    ways: list[dict[str, Any]] = [{}, {"num_items_in_batch": torch.tensor(2 * trained)}]
    models = classes()
    plain = {name: [run(model, **way) for way in ways] for name, model in models}
    monkeypatch.setattr(loss_utils, "ForCausalLMLoss", loss_utils.ForCausalLMLoss)
    monkeypatch.setitem(loss_utils.LOSS_MAPPING, "ForCausalLM", loss_utils.ForCausalLMLoss)
    patch_chunked_ce_loss_fn()
    for name, model in models:
        assert "chunked" in model.loss_function.__name__, "Axolotl's reaches the model"
        for way, (loss, gradients) in zip(ways, plain[name], strict=True):
            other, theirs = run(model, **way)
            assert other == pytest.approx(loss, rel=1e-6), name
            for key, gradient in gradients.items():
                scale = float(gradient.abs().max())
                assert float((theirs[key] - gradient).abs().max()) <= 1e-5 * scale + 1e-9, key
    assert plain["LlamaForCausalLM"][0][0] > 5, "a loss, and not zero"
