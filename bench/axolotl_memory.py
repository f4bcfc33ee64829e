"""An Axolotl plugin that records what torch allocates and computes on rank 0 while a recipe trains.

Use: `plugins: [bench.axolotl_memory.MemoryPlugin]`. Writes memory.json beside the run's
progress.jsonl (MFO_PROGRESS_DIR): {"phases": of bench.memory.Recorder, "forward N", "update N" and
"after N" for each optimiser step N; "flops": of step COUNTED's forward and backward passes, by
torch's own counter}. The profiler keeps every allocation until the end: for a few steps only.
"""

from __future__ import annotations

import gc
import json
import os
from pathlib import Path
from typing import Any

from axolotl.integrations.base import BasePlugin

from bench.memory import COUNTED, Recorder


class MemoryPlugin(BasePlugin):  # type: ignore[misc]
    """Records from before the model is loaded until training has ended."""

    def pre_model_load(self, cfg: Any) -> None:  # noqa: ARG002 - the hook's signature
        self.recorder = Recorder() if os.environ.get("RANK", "0") == "0" else None

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:  # noqa: ARG002
        if self.recorder is None:
            return []
        from torch.utils.flop_counter import FlopCounterMode
        from transformers import TrainerCallback

        recorder = self.recorder
        counter = FlopCounterMode(display=False)

        class Marks(TrainerCallback):  # type: ignore[misc]
            def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
                gc.collect()  # what only the garbage collector frees would come and go
                recorder.mark(f"forward {state.global_step + 1}")
                if state.global_step + 1 == COUNTED:
                    counter.__enter__()

            def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
                if state.global_step + 1 == COUNTED:
                    counter.__exit__(None, None, None)
                recorder.mark(f"update {state.global_step + 1}")

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
                recorder.mark(f"after {state.global_step}")

            def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
                file = Path(os.environ["MFO_PROGRESS_DIR"]) / "memory.json"
                found = {"phases": recorder.stop(), "flops": counter.get_total_flops()}
                file.write_text(json.dumps(found))

        return [Marks()]
