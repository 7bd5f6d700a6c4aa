"""`facula.linalg`: filled from the operations that register there."""

from facula import ops as _ops  # noqa: F401
from facula.ops.linalg.matrices import LinAlgError  # noqa: F401
from facula.ops.registry import NAMESPACES as _NAMESPACES

globals().update(_NAMESPACES.get("linalg", {}))
