"""Fractional max pooling: windows at uneven, randomly shifted steps.

Benjamin Graham, Fractional Max-Pooling (arXiv:1412.6071), the pseudorandom sequences with
overlapping windows: with u from [0, 1) for each plane and dimension, and the mean step
a = (size - kernel) / (out - 1), window i starts at floor(a (i + u)) - floor(a u), the last one at
size - kernel.
"""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor
from facula.dtypes import float64, int64
from facula.ops.arrange.joining import cat
from facula.ops.casting import to_dtype
from facula.ops.conv.convolutions import several
from facula.ops.create.creation import arange, full
from facula.ops.random.sampling import rand
from facula.ops.registry import op
from facula.ops.severing import leaned
from facula.ops.view.value_views import reshape_value

Ints = tuple[int, ...]
_DIMENSIONS = {2: ("height", "width"), 3: ("time", "height", "width")}


def _counted(count: int, at: int, rank: int, of: Any, device: Any) -> Tensor:
    """0, 1, ... along one dimension of `rank`."""
    shape = [1] * rank
    shape[at] = count
    return arange(count, dtype=of, device=device).reshape(shape)


def _starts(u: Tensor, size: int, kernel: int, out: int) -> Tensor:
    """Where the windows of each plane begin: (N, C) -> (N, C, out), in the precision of u."""
    shape = (*u.shape, 1)
    last: Tensor = full(shape, size - kernel, dtype=int64, device=u.device)
    if out == 1:
        return last
    u = u.unsqueeze(-1)
    step = full((), size - kernel, dtype=u.dtype, device=u.device) / (out - 1)
    place = _counted(out - 1, 2, 3, u.dtype, u.device)
    begin = to_dtype((place + u) * step, int64) - to_dtype(u * step, int64)
    return cat([begin, last], -1)


def _pooled(x: Tensor, kernel: Ints, out: Ints, samples: Tensor) -> tuple[Tensor, Tensor]:
    """Largest elements of (N, C, *size) and their places in the plane; `samples` are (N, C, n)."""
    n = len(kernel)
    size, lead = tuple(x.shape[2:]), tuple(x.shape[:2])
    rank = 2 + 2 * n  # N, C, a dimension for each of out, one for each of kernel
    place: Any = 0
    for k in range(n):
        # the numbers for 2 dimensions are stored the other way round: width, height
        u = samples[..., 1 - k if n == 2 else k]
        starts = _starts(u, size[k], kernel[k], out[k])
        shape = [*lead, *[1] * (2 * n)]
        shape[2 + k] = out[k]
        line = reshape_value(starts, tuple(shape)) + _counted(
            kernel[k], 2 + n + k, rank, int64, x.device
        )
        place = place * size[k] + line
    windows = place.flatten(2 + n).flatten(2, 1 + n)  # (N, C, out, kernel)
    plane = leaned(x).flatten(2)
    values = plane.detach().gather(2, windows.flatten(2)).reshape(windows.shape)
    chosen = windows.gather(-1, values.argmax(-1, True)).squeeze(-1)
    shape_out = (*lead, *out)
    return reshape_value(plane.gather(2, chosen), shape_out), reshape_value(chosen, shape_out)


def _wanted(what: str, n: int, input: Tensor, output_size: Any, output_ratio: Any) -> Ints:
    if output_size is not None:
        return several(output_size, n, what, "output_size")
    if output_ratio is None:
        raise ValueError(f"{what} requires specifying either an output_size or an output_ratio")
    ratio = tuple(output_ratio) if hasattr(output_ratio, "__len__") else (output_ratio,) * n
    if len(ratio) != n:
        raise ValueError(
            f"{what} requires output_ratio to either be a single Int or tuple of Ints."
        )
    return tuple([int(s * r) for s, r in zip(input.shape[-n:], ratio, strict=True)])


def _check(what: str, n: int, x: Tensor, kernel: Ints, out: Ints) -> None:
    rank = len(x.shape)
    if rank not in (n + 1, n + 2):
        raise RuntimeError(
            f"{what}(): Expected {n + 1}D or {n + 2}D tensor, but got: {list(x.shape)}"
        )
    for d in range(1, rank):
        if not x.shape[d]:
            raise RuntimeError(
                f"{what}(): Expected input to have non-zero size for non-batch dimensions, "
                f"but got {list(x.shape)} with dimension {d} being empty."
            )
    for word, k, o, s in zip(_DIMENSIONS[n], kernel, out, x.shape[-n:], strict=True):
        if k <= 0 or o <= 0:
            raise RuntimeError(f"{what}(): kernel and output sizes must be positive, got {k}, {o}")
        if o + k - 1 > s - (n == 3):  # torch wants room to spare in three dimensions
            raise RuntimeError(f"{what}(): pool {word} {k} too large relative to input {word} {s}")


def _samples(n: int, x: Tensor, given: Tensor | None) -> Tensor:
    if given is None:
        given = rand(*x.shape[:2], n, dtype=x.dtype, device=x.device)
    elif given.requires_grad:
        raise RuntimeError(f"The function 'fractional_max_pool{n}d' is not differentiable with respect to "
                           "argument 'random_samples'. This input cannot have requires_grad True.")
    elif given.dtype is not x.dtype:
        raise RuntimeError("Expect _random_samples to have the same dtype as input")
    elif len(given.shape) != 3:
        raise RuntimeError(f"Expect _random_samples to have 3 dimensions, got {len(given.shape)}")
    batch, channels, numbers = given.shape
    if batch < x.shape[0]:
        raise RuntimeError("Expect _random_samples.size(0) no less then input batch size.")
    if channels != x.shape[1]:
        raise RuntimeError("Expect _random_samples.size(1) equals to input channel size.")
    if numbers != n:
        raise RuntimeError(f"Expect _random_samples.size(2) equals to {n}; got {numbers}.")
    given = given[: x.shape[0]]
    # floor(a (i + u)) is meant in the input's precision, but for those that are too short for it
    return given if given.dtype is float64 else given.float()


def _fractional_max_pool(n: int) -> Any:
    what = f"fractional_max_pool{n}d"

    def with_indices(
        input: Tensor,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = True,
        _random_samples: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        kernel = several(kernel_size, n, what, "kernel_size")
        out = _wanted(what, n, input, output_size, output_ratio)
        _check(what, n, input, kernel, out)
        batched = len(input.shape) == n + 2
        x = input if batched else reshape_value(input, (1, *input.shape))
        found = _pooled(x, kernel, out, _samples(n, x, _random_samples))
        if batched:
            return found
        values, at = [reshape_value(t, tuple(t.shape[1:])) for t in found]
        return values, at

    def body(
        input: Tensor,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> Any:
        found = with_indices(input, kernel_size, output_size, output_ratio, True, _random_samples)
        return found if return_indices else found[0]

    shape = "(N, C, H, W)" if n == 2 else "(N, C, T, H, W)"
    body.__name__ = body.__qualname__ = what
    body.__doc__ = f"""The largest element of each of unevenly spaced, overlapping windows.

    input: {shape} or without N, of floats; output_size: numbers of windows, or output_ratio: what
    part of the input's sizes they are, below 1. With return_indices also where in its plane each
    element is. The steps are random (one number for each plane and dimension, from the generator
    of `facula.manual_seed`). Source: Graham, Fractional Max-Pooling, arXiv:1412.6071. Raises
    ValueError for no size at all, RuntimeError where windows do not fit.

    >>> x = facula.arange({4**n}.0).reshape(1, 1{", 4" * n})
    >>> facula.nn.functional.{what}(x, 2, output_size=1).item()
    {4**n - 1}.0
    """
    with_indices.__name__ = with_indices.__qualname__ = what + "_with_indices"
    with_indices.__doc__ = f"`{what}` with return_indices."
    op(with_indices, method=False, namespace="nn.functional")
    return op(body, method=False, namespace="nn.functional")


fractional_max_pool2d, fractional_max_pool3d = (_fractional_max_pool(n) for n in (2, 3))
