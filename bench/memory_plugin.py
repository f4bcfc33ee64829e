"""The Axolotl plugin that records a rank's allocations, for bench/plan_memory.py."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from axolotl.integrations.base import BasePlugin

from bench.memory import Recorder


class RecordPlugin(BasePlugin):  # type: ignore[misc]
    """Records rank 0 from the moment Axolotl reads its file, into train/memory.json."""

    recorder: Recorder | None = None

    def register(self, cfg: dict[str, Any]) -> None:  # noqa: ARG002 - the hook's signature
        if os.environ.get("RANK") == "0" and RecordPlugin.recorder is None:
            RecordPlugin.recorder = Recorder()

    def add_callbacks_post_trainer(self, cfg: dict[str, Any], trainer: Any) -> list[Any]:  # noqa: ARG002
        from transformers import TrainerCallback

        recorder = RecordPlugin.recorder
        if recorder is None:
            return []

        class Marks(TrainerCallback):  # type: ignore[misc]
            def on_step_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
                recorder.mark(f"passes {state.global_step}")

            def on_pre_optimizer_step(
                self, _args: Any, state: Any, _control: Any, **_: Any
            ) -> None:
                recorder.mark(f"update {state.global_step}")

            def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
                recorder.mark(f"after {state.global_step}")

            def on_train_end(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
                file = Path(os.environ["MFO_PROGRESS_DIR"]) / "memory.json"
                file.write_text(json.dumps(recorder.stop()))

        return [Marks()]
