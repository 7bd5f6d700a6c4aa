"""Is automatic mixed precision on CUDA usable here?"""

from __future__ import annotations


def amp_definitely_not_available() -> bool:
    """True: there is no CUDA device."""
    return True
