"""Neural network functions: what the modules in `facula.nn` compute, without the parameters.

Filled from the operations that register there, in these modules and in `facula.ops`.
"""

import importlib as _importlib
from typing import Any as _Any

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


def assert_int_or_pair(arg: object, arg_name: str, message: str) -> None:
    """AssertionError with the formatted `message` unless `arg` is a number or two."""
    if not isinstance(arg, int) and not (isinstance(arg, (list, tuple)) and len(arg) == 2):
        raise AssertionError(message.format(arg_name))


def __getattr__(name: str) -> _Any:
    """What is PyTorch's beside its functions: loaded when it is asked for."""
    where = "overrides" if "torch_function" in name else "jit.annotations" if name.startswith("BroadcastingList") else {
        "conv_tbc": "nn.functional.at_the_root", "grad": "nn"}.get(name)
    if where is None:
        raise AttributeError(f"module 'facula.nn.functional' has no attribute {name!r}")
    return getattr(_importlib.import_module(f"facula.{where}"), name)

