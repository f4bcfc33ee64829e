"""The Axolotl plugin that has each layer's forward pass recomputed once, not twice.

`fsdp_config.activation_checkpointing: true` puts two checkpoints around the same work with the
pinned versions: accelerate 1.13.0, utils/fsdp_utils.py `fsdp2_apply_ac`, wraps each child of a
decoder layer (attention, MLP, norms; mended after 1.13 by accelerate's pull request 4172), and
axolotl 0.19.0, monkeypatch/accelerate/fsdp2.py `fsdp2_prepare_model`, then wraps the whole layer
around them. In the backward pass the layer is computed again, keeps nothing, and each child is
computed a third time; bench/RESULTS.md has the FLOPs. This plugin leaves Axolotl's alone.

Use: `plugins: [launch.stages.axolotl_once.CheckpointOncePlugin]`: the variant `checkpoint-once`.
"""

from __future__ import annotations

from typing import Any

from axolotl.integrations.base import BasePlugin


class CheckpointOncePlugin(BasePlugin):  # type: ignore[misc]
    """Keeps accelerate from checkpointing what Axolotl checkpoints."""

    def pre_model_load(self, cfg: Any) -> None:  # noqa: ARG002 - the hook's signature
        """Take accelerate's own checkpoints away, before the model is prepared."""
        from accelerate import accelerator

        accelerator.fsdp2_apply_ac = _as_it_is
        print("checkpointing: each layer once; its parts are left alone", flush=True)


def _as_it_is(accelerator: Any, model: Any) -> Any:  # noqa: ARG001 - accelerate's signature
    return model
