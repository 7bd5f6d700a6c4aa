"""Tensors sent to several devices of this process, cut into shares, put together or added up on one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from facula._tensor.handle import Tensor
from facula.nn.parallel.scattering import _device
from facula.nn.parallel.scattering import gather as _gather

__all__ = ["broadcast", "broadcast_coalesced", "gather", "reduce_add", "reduce_add_coalesced", "scatter"]


def broadcast(tensor: Tensor, devices: Sequence[Any] | None = None, *,
              out: Sequence[Tensor] | None = None) -> tuple[Tensor, ...]:
    """The tensor on each of the devices, or written into each of `out`.

    Raises:
        RuntimeError: neither devices nor tensors are given, or both.

    Example:
        >>> import facula
        >>> from facula.nn.parallel import comm
        >>> comm.broadcast(facula.ones(1), ["cpu", "cpu"])
        (tensor([1.]), tensor([1.]))
    """
    if (devices is None) == (out is None):
        raise RuntimeError(f"Exactly one of 'devices' and 'out' must be specified, but got devices={devices} and "
                           f"out={out}")
    if out is not None:
        return tuple([t.copy_(tensor) for t in out])
    return tuple([tensor.to(_device(d)) for d in devices or ()])


def broadcast_coalesced(tensors: Sequence[Tensor], devices: Sequence[Any],
                        buffer_size: int = 10485760) -> tuple[tuple[Tensor, ...], ...]:
    """All tensors on each of the devices: for each device a tuple of them.

    Example:
        >>> import facula
        >>> from facula.nn.parallel import comm
        >>> [len(there) for there in comm.broadcast_coalesced([facula.ones(1), facula.ones(2)], ["cpu"])]
        [2]
    """
    return tuple([tuple([t.to(_device(d)) for t in tensors]) for d in devices])


def reduce_add(inputs: Sequence[Tensor], destination: Any = None) -> Any:
    """The sum of tensors of one shape, on the first one's device unless told.

    Raises:
        ValueError: other shapes. RuntimeError: none.

    Example:
        >>> import facula
        >>> from facula.nn.parallel import comm
        >>> comm.reduce_add([facula.ones(2), facula.ones(2)])
        tensor([2., 2.])
    """
    if not inputs:
        raise RuntimeError("reduce_add: expected at least one tensor")
    place = inputs[0].device if destination is None else _device(destination)
    for t in inputs:
        if t.shape != inputs[0].shape:
            raise ValueError(f"input has invalid size: got {'x'.join(map(str, t.shape))}, but expected "
                             f"{'x'.join(map(str, inputs[0].shape))}")
    total: Any = inputs[0].to(place)
    for t in inputs[1:]:
        total = total + t.to(place)
    return total


def reduce_add_coalesced(inputs: Sequence[Sequence[Tensor]], destination: Any = None,
                         buffer_size: int = 10485760) -> tuple[Tensor, ...]:
    """The sums of the first tensors of all lists, of the second ones, and so on.

    Example:
        >>> import facula
        >>> from facula.nn.parallel import comm
        >>> comm.reduce_add_coalesced([[facula.ones(1)], [facula.ones(1)]])
        (tensor([2.]),)
    """
    return tuple([reduce_add(parts, destination) for parts in zip(*inputs, strict=True)])


def scatter(tensor: Tensor, devices: Sequence[Any], chunk_sizes: Sequence[int] | None = None, dim: int = 0,
            streams: Any = None) -> tuple[Tensor, ...]:
    """Shares of a tensor along `dim`, one on each device, of the sizes that are given or alike.

    Example:
        >>> import facula
        >>> from facula.nn.parallel import comm
        >>> comm.scatter(facula.arange(3), ["cpu", "cpu"], [1, 2])
        (tensor([0]), tensor([1, 2]))
    """
    parts: Any = tensor.chunk(len(devices), dim) if chunk_sizes is None else tensor.split(list(chunk_sizes), dim)
    return tuple([part.to(_device(d)) for part, d in zip(parts, devices, strict=False)])


def gather(tensors: Sequence[Tensor], dim: int = 0, destination: Any = None) -> Tensor:
    """Tensors one after the other along `dim`, on one device.

    Example:
        >>> import facula
        >>> from facula.nn.parallel import comm
        >>> comm.gather([facula.ones(1), facula.zeros(1)], destination="cpu")
        tensor([1., 0.])
    """
    found: Tensor = _gather(list(tensors), tensors[0].device if destination is None else destination, dim)
    return found
