"""Memory straight from the system that is never given back: machine code, and what worker threads look at.

Python tears its modules down at exit while workers may still be spinning; had the pages gone by then, the
process would end with a segmentation fault.
"""

from __future__ import annotations

import ctypes
import mmap


def map_pages(nbytes: int) -> tuple[mmap.mmap, int]:
    """Fresh zeroed pages, private to this process, and their address. Nothing is used until it is touched."""
    # MAP_PRIVATE matters: mmap's default is shared, and a forked child would work on its parent's pool.
    flags = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    memory = mmap.mmap(-1, nbytes, **flags)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))
    return memory, ctypes.addressof(ctypes.c_char.from_buffer(memory))


def make_executable(base: int, nbytes: int) -> None:
    """Make the pages at `base` code: readable and executable, no longer writable. OSError where that is forbidden."""
    change = ctypes.CDLL(None, use_errno=True).mprotect
    change.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if change(base, nbytes, mmap.PROT_READ | mmap.PROT_EXEC) != 0:
        raise OSError(ctypes.get_errno(), "mprotect refuses to make memory executable")
