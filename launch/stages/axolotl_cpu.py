"""The Axolotl plugin that lets the cluster's training file run on a machine without a GPU.

Axolotl 0.19.0 and accelerate 1.13.0 take a GPU for granted in six places. This plugin lifts each
of them and touches nothing where CUDA is available, so that the laptop trains through the very code
that the cluster trains through: torchrun, FSDP2 (over gloo), sharded checkpoints.

Use: `plugins: [launch.stages.axolotl_cpu.CpuPlugin]` in the training file, with the kit's folder on
PYTHONPATH. Axolotl only prints an error when it cannot import a plugin, and then trains without it.

Raises:
    KitError: from `register`, when a name that it wraps is not there (another version).
"""

from __future__ import annotations

import functools
import inspect
import os
from typing import Any

from axolotl.integrations.base import BasePlugin

from kit.errors import KitError


class CpuPlugin(BasePlugin):  # type: ignore[misc]
    """Lifts the GPU assumptions of Axolotl 0.19.0 and accelerate 1.13.0; a no-op with CUDA."""

    def register(self, cfg: dict[str, Any]) -> None:  # noqa: ARG002 - the hook's signature
        """Patch before anything asks for a device; Axolotl calls this while it loads the file."""
        if _has_cuda():
            return
        _partial_state_on_cpu()
        _device_mesh_on_cpu()
        _fsdp_on_cpu()
        _no_peers_on_cpu()

    def get_training_args(self, cfg: dict[str, Any]) -> dict[str, Any] | None:  # noqa: ARG002
        """Ask transformers for the CPU.

        transformers 5.16.1, training_args.py:1739 refuses `bf16: true` without a GPU unless
        `use_cpu` is set; this hook is Axolotl's official way to set it.
        """
        return None if _has_cuda() else {"use_cpu": True}


def _has_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _expect(owner: object, name: str, parameter: str) -> Any:
    """Give `owner.name`, or say that this version has no such name or no such parameter."""
    target = getattr(owner, name, None)
    if target is None or parameter not in inspect.signature(target).parameters:
        label = f"{getattr(owner, '__module__', '')}.{getattr(owner, '__name__', owner)}.{name}"
        raise _another_version(f"{label}({parameter}=...)")
    return target


def _another_version(label: str) -> KitError:
    return KitError(
        f"Cannot lift a GPU assumption: {label} is not there.",
        where="launch/stages/axolotl_cpu.py",
        cause="another version of axolotl or accelerate than the kit's pins",
        fix='install the pins: pip install -e ".[train]" (axolotl 0.19.0, accelerate 1.13.0)',
    )


def _is_patched(function: object) -> bool:
    """Say whether a wrapper of ours is there already (Axolotl may register a plugin twice)."""
    return getattr(function, "_mfo_cpu", False) is True


def _mark(wrapper: Any) -> Any:
    wrapper._mfo_cpu = True
    return wrapper


def _partial_state_on_cpu() -> None:
    """Make every PartialState one with cpu=True.

    axolotl 0.19.0, utils/distributed.py:56 builds `PartialState(timeout=...)`: without `cpu`,
    accelerate finds no GPU back end, and two torchrun workers each believe to be alone.
    accelerate 1.13.0, state.py:201 skips DeepSpeed's own start when `cpu` is set, and DeepSpeed
    then fails at its first collective; so it is started here, over the gloo group that is there.
    """
    from accelerate.state import PartialState

    original = _expect(PartialState, "__init__", "cpu")
    if _is_patched(original):
        return

    @functools.wraps(original)
    def init(self: Any, cpu: bool = True, **kwargs: Any) -> None:  # noqa: ARG001
        fresh = not PartialState._shared_state
        original(self, True, **kwargs)
        if fresh and os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
            from deepspeed import comm

            if not comm.is_initialized():
                comm.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)

    PartialState.__init__ = _mark(init)


def _device_mesh_on_cpu() -> None:
    """Turn a mesh of CUDA devices into one of CPUs.

    axolotl 0.19.0, utils/distributed.py:314 hard-codes `build_device_mesh("cuda")`.
    """
    from accelerate.parallelism_config import ParallelismConfig

    original = _expect(ParallelismConfig, "build_device_mesh", "device_type")
    if _is_patched(original):
        return

    @functools.wraps(original)
    def build(self: Any, device_type: str) -> Any:
        return original(self, "cpu" if device_type == "cuda" else device_type)

    ParallelismConfig.build_device_mesh = _mark(build)


def _fsdp_on_cpu() -> None:
    """Let FSDP be chosen for several CPU processes.

    accelerate 1.13.0, state.py:988: the branch that turns FSDP on lists every kind of device except
    MULTI_CPU. The lines below are what that branch does for the others.
    """
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    original = _expect(AcceleratorState, "__init__", "fsdp_plugin")
    if _is_patched(original):
        return

    @functools.wraps(original)
    def init(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        fresh = not AcceleratorState._shared_state
        original(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        wanted = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
        if not fresh or self.distributed_type != DistributedType.MULTI_CPU:
            return
        if wanted or fsdp_plugin is not None:
            self.distributed_type = DistributedType.FSDP
            if self._mixed_precision != "no" and fsdp_plugin is not None:
                fsdp_plugin.set_mixed_precision(self._mixed_precision)
            self.fsdp_plugin = fsdp_plugin
            PartialState._shared_state["distributed_type"] = self.distributed_type

    AcceleratorState.__init__ = _mark(init)


def _no_peers_on_cpu() -> None:
    """Answer for the driver that is not here whether GPUs reach each other's memory.

    axolotl 0.19.0, utils/environment.py:39 asks torch's CUDA and expects the AssertionError of a
    build without CUDA; PyPI's build for Linux has it, and raises a RuntimeError without a driver.
    """
    from axolotl.utils import environment

    if not hasattr(environment, "check_cuda_p2p_support"):
        raise _another_version("axolotl.utils.environment.check_cuda_p2p_support()")
    environment.check_cuda_p2p_support = lambda: True  # as Axolotl takes it with the CPU build
