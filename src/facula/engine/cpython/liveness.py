"""What CPython's reference counts mean here, measured instead of known.

How many references an object has while a function looks at it depends on how that function came by
it, and on the interpreter: on CPython 3.14 a call's argument is often borrowed from the local
variable, and the count is one less than before. So no count is written down. A function that asks
"does nobody else hold this?" compares with a limit that `calibrate` has found by asking that very
function about an object that is held by nothing else, and about one that is held once more.

Where that does not come out (counts that do not move by one, other interpreters, builds without a
global lock) every limit is UNKNOWN, below any count: all is held, nothing is donated, memory once
handed out stays pinned, and no builtins of our own machine code are made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from facula import config

UNKNOWN = -1 << 40  # as a limit: nothing is ever free
_HIGHEST = 12  # of the limits that are tried
_ROUNDS = 12  # a function's bytecode is specialised after some calls, which must change nothing

_failed = False


def _uncounted(what: object) -> int:
    return 0


def _counts() -> bool:
    """Is this CPython with its global lock, and are its counts wanted? The one place that decides it; who makes
    builtins asks `known`."""
    return (config.LIVENESS.value != "off" and sys.implementation.name == "cpython"
            and hasattr(sys, "getrefcount") and not _free_threaded())


def _free_threaded() -> bool:
    """A build without the lock counts differently even while it is switched on: by owner, and not
    at all what is immortal."""
    if sys.version_info < (3, 13):
        return False
    import sysconfig  # reads a large table: milliseconds that older versions need not pay
    return bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def _counter() -> Callable[[object], int]:
    if not _counts():
        return _uncounted
    shift = config.REFCOUNT_SHIFT.value
    if not shift:
        return sys.getrefcount
    count = sys.getrefcount
    return lambda what: count(what) + shift


getrefcount: Callable[[object], int] = _counter()


def known() -> bool:
    """Do reference counts tell what is alive? Final only once all modules that ask are imported."""
    return getrefcount is not _uncounted and not _failed


def calibrate(namespace: dict[str, Any], name: str, free: Callable[[bool], bool]) -> None:
    """Set the limit `namespace[name]` to the highest count of what nobody else holds. `free(held)`
    has the function that uses the limit look at an object of its own making, held by one more than
    usual if `held`; the answer is whether that function takes the object to be free."""
    global _failed
    namespace[name] = UNKNOWN
    if not known():
        return
    for limit in range(-2, _HIGHEST):
        namespace[name] = limit
        if free(False):
            break
    exact = all(free(False) and not free(True) for _ in range(_ROUNDS))
    namespace[name] = limit + 1
    by_one = free(True)
    namespace[name] = limit if exact and by_one else UNKNOWN
    if not (exact and by_one):
        _failed = True
