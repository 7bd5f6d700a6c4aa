"""Types for annotations, under PyTorch's names (`torch.types`).

Example:
    >>> import facula
    >>> from facula.types import Number
    >>> isinstance(1.5, Number)
    True
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Sequence
from typing import IO, Any, TypeAlias

from facula._tensor.handle import Tensor
from facula._tensor.storages import UntypedStorage as Storage
from facula.devices import device as _device
from facula.dtypes import dtype as _dtype  # noqa: F401  (annotations name it)
from facula.layouts import layout as _layout  # noqa: F401
from facula.size import Size
from facula.symbolic_numbers import SymBool, SymFloat, SymInt

__all__ = ["Device", "FileLike", "Number", "Storage"]

_bool, _float, _int, _complex = builtins.bool, builtins.float, builtins.int, builtins.complex
_size: TypeAlias = Size | list[int] | tuple[int, ...]
_symsize: TypeAlias = Size | Sequence[Any]
_dispatchkey: TypeAlias = str | Any
_TensorOrTensors: TypeAlias = Tensor | Sequence[Tensor]
_TensorOrTensorsOrGradEdge: TypeAlias = Tensor | Sequence[Tensor] | Any
_TensorOrOptionalTensors: TypeAlias = Tensor | Sequence[Tensor | None]
_qscheme: TypeAlias = Any
Number: TypeAlias = int | float | bool
PyNumber: TypeAlias = int | float | bool
IntLikeType: TypeAlias = int | Any
FloatLikeType: TypeAlias = float | Any
BoolLikeType: TypeAlias = bool | Any
Device: TypeAlias = _device | str | int | None
FileLike: TypeAlias = str | os.PathLike[str] | IO[bytes]
py_sym_types = (SymInt, SymFloat, SymBool)
