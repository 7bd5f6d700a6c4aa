"""`facula.signal.windows`: filled from the operations that register there."""

from facula import ops as _ops  # noqa: F401
from facula.ops.registry import NAMESPACES as _NAMESPACES

globals().update(_NAMESPACES["signal.windows"])
__all__ = sorted(_NAMESPACES["signal.windows"])  # noqa: PLE0605
