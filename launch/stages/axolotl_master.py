"""The Axolotl plugin that keeps fp32 master weights under FSDP2: the variant `fp32-master`.

Axolotl 0.19.0, utils/config/__init__.py `resolve_dtype`: with `bf16: true` the model is loaded in
bfloat16, so FSDP2's shards, the gradients and Adam's moments are bfloat16 as well; no master copy
is kept. This plugin turns the loaded weights into float32 before they are sharded. `bf16: true`
still makes FSDP2's mixed precision cast each layer to bfloat16 while it computes, as torch's
documentation recommends.

Use: `plugins: [launch.stages.axolotl_master.MasterWeightsPlugin]`, with `bf16: true` and FSDP2.
DeepSpeed keeps fp32 master weights by itself and does not need it.
"""

from __future__ import annotations

from typing import Any

from axolotl.integrations.base import BasePlugin

from kit.errors import KitError


class MasterWeightsPlugin(BasePlugin):  # type: ignore[misc]
    """Makes FSDP2 shard and update float32 weights."""

    def post_model_build(self, cfg: Any, model: Any) -> None:
        """Turn the weights into float32; on ranks but the first they have no values yet.

        Raises:
            KitError: the run is not FSDP2, or computes in float32 anyway.
        """
        import torch

        if not cfg.fsdp_config or str(cfg.fsdp_version) != "2":
            raise KitError(
                "fp32 master weights are asked for, and the run is not FSDP2",
                where="plugins",
                cause="DeepSpeed keeps a float32 copy by itself",
                fix="leave the variant fp32-master out",
            )
        if cfg.torch_dtype != torch.bfloat16:
            raise KitError(
                f"fp32 master weights are asked for, and the run computes in {cfg.torch_dtype}",
                where="plugins",
                cause="there is nothing to keep a more precise copy of",
                fix="leave the variant fp32-master out, or --set train.bf16=true",
            )
        cfg.torch_dtype = torch.float32  # what Axolotl turns norms and embeddings into, later
        model.to(torch.float32)
        print("master weights: float32, computing in bfloat16 (not as published)", flush=True)
