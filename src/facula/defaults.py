"""The default dtype: of tensors made from Python floats, and of factory functions."""

from __future__ import annotations

from facula import dtypes
from facula.dtypes import dtype

_default: dtype = dtypes.float32


def get_default_dtype() -> dtype:
    """The dtype of tensors made from Python floats.

    Example:
        >>> from facula.defaults import get_default_dtype
        >>> get_default_dtype()
        torch.float32
    """
    return _default


def set_default_dtype(d: dtype) -> None:
    """Make tensors from Python floats with dtype `d`. TypeError if it is not a floating-point dtype.

    Example:
        >>> import facula
        >>> from facula.defaults import set_default_dtype
        >>> set_default_dtype(facula.float32)
    """
    global _default
    if not isinstance(d, dtype):
        raise TypeError(f"invalid dtype object: only floating-point types are supported as the default type, "
                        f"got {type(d).__name__}")
    if not d.is_floating_point:
        raise TypeError("only floating-point types are supported as the default type")
    d.category  # noqa: B018  # refuses what is lacking
    _default = d
