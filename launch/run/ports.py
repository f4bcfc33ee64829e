"""Free ports on this machine."""

from __future__ import annotations

import contextlib
import socket

from kit.errors import KitError

FIRST, COUNT = 20000, 12000  # below Linux's ephemeral ports


def free_port(number: int, host: str = "") -> int:
    """Give a free port; callers with other numbers try other ones first.

    Args:
        number: such as a job's or a process's.
        host: the address it is to be free on; "": every one.

    Raises:
        KitError: none is free among the 200 that were tried.
    """
    for step in range(200):
        port = FIRST + (number + step * 97) % COUNT
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port
    raise KitError(f"no free port between {FIRST} and {FIRST + COUNT} on this node")
