"""The seam between files and tensors: a tensor's storage as bytes, and a tensor over loaded bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.dtypes import dtype
from facula.serialization.storages import LoadedStorage, check_bounds


def tensor_class() -> type:
    """Tensor itself (a function, so that importing this module does not need it)."""
    from facula.tensor import Tensor
    return Tensor
