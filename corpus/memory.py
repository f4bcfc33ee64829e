"""Keep memory that is shared with forked workers shared, and give back what is free.

Of glibc alone; elsewhere these do nothing, and everything works the same with more memory.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: Blocks of more bytes are given back when they are freed (mallopt's M_MMAP_THRESHOLD, -3).
LARGE = 2**20


def large_apart() -> None:
    """Take large blocks from the system and not from the heap, whatever was freed before."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(-3, LARGE)


def give_back() -> None:
    """Return freed memory to the system."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def about_to_fork() -> Iterator[None]:
    """Fork within this: the children's garbage collector leaves what is there now alone.

    It would otherwise write to every object, and the pages would be copied into each child.
    """
    gc.collect()
    give_back()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
