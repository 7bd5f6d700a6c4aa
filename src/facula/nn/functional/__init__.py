"""Neural network functions: what the modules in `facula.nn` compute, without the parameters.

Filled from the operations that register there, in these modules and in `facula.ops`.
"""

from typing import TYPE_CHECKING

from facula.ops.registry import NAMESPACES as _NAMESPACES

from .. import _reduction as _Reduction
from . import (  # noqa: F401
    activation,
    attention,
    classification,
    ctc,
    distance,
    dropping,
    linear_loss,
    lookups,
    loss,
    normalization,
    padding,
    root_forms,
)

globals().update(_NAMESPACES["nn.functional"])
_threshold = _NAMESPACES["nn.functional"]["threshold"]  # PyTorch's own tests look it up under this name
__all__ = ["_Reduction", "_threshold", *sorted(_NAMESPACES["nn.functional"])]  # noqa: PLE0604

if TYPE_CHECKING:
    from typing import Any

    def __getattr__(name: str) -> Any: ...
