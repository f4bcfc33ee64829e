"""How fast the ranks of several nodes sum a tensor: `mfo doctor` runs this as one task a node.

    python -m launch.plan.bandwidth FOLDER RANKS_A_NODE      # inside srun; FOLDER is shared

The bus bandwidth is the one that nccl-tests and the sites quote: 2 (n - 1) / n x bytes / seconds,
which is what each link must carry and so does not depend on the number of ranks n.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from kit.errors import KitError
from kit.files import read_json, write_json

MARK = "MFO-ALLREDUCE "
#: Bytes that are summed: enough to fill links of 100 GB/s; on CPUs enough to see that it works.
GPU_BYTES, CPU_BYTES = 1 << 30, 1 << 24
_WARM, _TURNS = 3, 10
_MEET_S = 60.0


def main(folder: Path, ranks: int) -> int:
    """Meet the other nodes, then run torchrun on this one; gives its exit code."""
    from launch.run import attempt as attempts

    attempt = attempts.current_task()
    file = folder / f"meeting.{attempt.key}"
    if attempt.task == 0:
        write_json(file, {"host": attempts.reachable_name(), "port": attempts.free_port(attempt)})
    end = time.monotonic() + _MEET_S
    while (meeting := read_json(file)) is None:
        if time.monotonic() > end:
            raise KitError("the first node's file did not come", where=str(file),
                           cause="the nodes do not share this folder")  # fmt: skip
        time.sleep(0.2)
    command = [
        sys.executable, "-m", "torch.distributed.run", f"--nnodes={attempt.tasks}",
        f"--nproc-per-node={ranks}", f"--node-rank={attempt.task}", "--rdzv-backend=static",
        f"--master-addr={meeting['host']}", f"--master-port={meeting['port']}", "--max-restarts=0",
        "-m", "launch.plan.bandwidth",
    ]  # fmt: skip
    code = subprocess.run(command).returncode
    if attempt.task == 0:
        file.unlink(missing_ok=True)
    return code


def measure() -> dict[str, Any] | None:
    """Sum a tensor over all ranks again and again; rank 0 gives what it saw, the others None."""
    import torch
    import torch.distributed as dist

    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if on_gpu else "gloo")
    size, world = (GPU_BYTES if on_gpu else CPU_BYTES), dist.get_world_size()
    kind = torch.bfloat16 if on_gpu else torch.float32
    tensor = torch.zeros(size // kind.itemsize, dtype=kind, device="cuda" if on_gpu else "cpu")

    def finish() -> None:
        if on_gpu:
            torch.cuda.synchronize()
        dist.barrier()

    for _ in range(_WARM):
        dist.all_reduce(tensor)
    finish()
    begun = time.perf_counter()
    for _ in range(_TURNS):
        dist.all_reduce(tensor)
    finish()
    took = (time.perf_counter() - begun) / _TURNS
    first = dist.get_rank() == 0
    dist.destroy_process_group()
    if not first:
        return None
    return {"ranks": world, "backend": "nccl" if on_gpu else "gloo", "bytes": size,
            "gb_s": bus_bandwidth(size, world, took)}  # fmt: skip


def bus_bandwidth(size: int, ranks: int, seconds: float) -> float:
    """Give GB/s that each link carried in one all-reduce of `size` bytes."""
    return 2 * (ranks - 1) / ranks * size / seconds / 1e9


if __name__ == "__main__":
    if "TORCHELASTIC_RUN_ID" in os.environ:
        seen = measure()
        if seen:
            os.write(1, (MARK + json.dumps(seen) + "\n").encode())
    else:
        sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
