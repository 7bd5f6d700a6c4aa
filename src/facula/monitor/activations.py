"""What layers read, looked at now and then: units that are zero whatever comes in, and the largest magnitude.

A unit is a feature that a linear layer reads, a channel that a convolution or a batch norm reads: whatever function has
made it zero (a module, `F.relu`, a clamp), it is seen. It counts as dead once it was zero for all of a batch at each of
the last `LOOKS` looks. What needs no gradient (the data itself, with its black borders) is no unit.

The largest magnitude is NaN where any element is: the first layer whose is, is where it came from, or the one after.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from facula import nn
from facula._tensor.handle import Tensor
from facula.nn.modules.batchnorm import _BatchNorm
from facula.nn.modules.conv import _ConvNd
from facula.utils.hooks import RemovableHandle

LOOKS = 5


def unit_dim(module: Any, x: Any) -> int | None:
    """Along which dimension of `x` units lie for the layer `module` that reads it; None where there are none."""
    if not x.requires_grad or x.ndim < 2:
        return None
    if isinstance(module, _ConvNd):
        dim = x.ndim - len(module.kernel_size) - 1
    elif isinstance(module, _BatchNorm):
        dim = 1
    elif isinstance(module, nn.Linear):
        dim = x.ndim - 1
    else:
        return None
    return dim if dim >= 0 and x.numel() > x.shape[dim] > 0 else None


class Looks:
    """Looks at a model's calls: `begin` before one, `end` after it, `read` once values are computed."""

    def __init__(self) -> None:
        self._handles: list[RemovableHandle] = []
        self._zero: dict[str, Any] = {}
        self._largest: dict[str, Any] = {}
        self._running: dict[str, tuple[int, np.ndarray]] = {}  # looks, and for how many of them units have been zero

    def begin(self, model: Any) -> None:
        """Put hooks on the layers, for one call of the model."""
        self.end()
        self._zero, self._largest = {}, {}
        for path, module in model.named_modules():
            if isinstance(module, (_ConvNd, _BatchNorm, nn.Linear)):
                self._handles.append(module.register_forward_pre_hook(self._hook(path or "model")))

    def _hook(self, path: str) -> Any:
        def look(module: Any, args: Any) -> None:
            x = args[0] if args else None
            if not isinstance(x, Tensor) or not x.dtype.is_floating_point or not x.numel():
                return
            dim, x = unit_dim(module, x), x.detach()
            if path not in self._largest:  # of several calls the first
                self._largest[path] = x.abs().amax().double()
            if dim is not None:
                zero = (x == 0).all(dim=tuple(d for d in range(x.ndim) if d != dim))
                before = self._zero.get(path)  # a layer that is called several times: zero each time
                self._zero[path] = zero if before is None or before.shape != zero.shape else before & zero
        return look

    def end(self) -> None:
        """Take the hooks away."""
        handles, self._handles = self._handles, []
        for handle in handles:
            handle.remove()

    def read(self, prefix: str = "") -> dict[str, float]:
        """Series in the order of calls: largest magnitudes, and shares of dead units once there were looks enough."""
        zero, largest = self._zero, self._largest
        self._zero, self._largest = {}, {}
        row = {f"activations/{prefix}{path}": float(value.item()) for path, value in largest.items()}
        for path, mask in zero.items():
            now = mask.cpu().numpy()
            looks, running = self._running.get(path, (0, now))
            if looks == 0 or running.shape != now.shape:
                looks, running = 0, np.zeros(now.shape, np.int64)
            looks, running = looks + 1, np.where(now, running + 1, 0)
            self._running[path] = looks, running
            if looks >= LOOKS:
                row[f"dead_units/{prefix}{path}"] = float((running >= LOOKS).mean())
        return row
