"""The opt_einsum package: not used; `facula.einsum` orders its contractions itself."""

from __future__ import annotations

enabled = False
strategy: str | None = None


def is_available() -> bool:
    """Is opt_einsum used?

    Example:
        >>> from facula.backends import opt_einsum
        >>> opt_einsum.is_available()
        False
    """
    return False
