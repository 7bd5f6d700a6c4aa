"""Normalization with its statistics: `native_layer_norm` and its kin, which give the mean and 1 / deviation too."""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor
from facula.engine.graph.node import size_of
from facula.ops.casting import to_dtype
from facula.ops.create.creation import empty
from facula.ops.elementwise.transcendental import rsqrt
from facula.ops.images import closed, opened
from facula.ops.registry import op
from facula.ops.view.value_views import reshape_value

Triple = tuple[Tensor, Tensor, Tensor]


def _normalized(x: Any, dims: tuple[int, ...], eps: float) -> Triple:
    """The result, mean and 1 / deviation over `dims`, which stay with size 1."""
    mean = x.mean(dims, True)
    rstd = rsqrt(((x - mean) ** 2).mean(dims, True) + eps)
    return (x - mean) * rstd, mean, rstd


def _scaled(x: Any, weight: Any, bias: Any, shape: tuple[int, ...]) -> Tensor:
    if weight is not None:
        x = x * weight.reshape(shape)
    return x if bias is None else x + bias.reshape(shape)  # type: ignore[no-any-return]


def _statistics_in(input: Tensor, *others: Tensor | None) -> Any:
    """The dtype of the statistics: the compute dtype if what they are used with has it."""
    if any(t is not None and t.dtype is not input.dtype for t in others):
        return input.dtype.compute
    return input.dtype


@op(method=False)
def native_layer_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None, bias: Tensor | None,
                      eps: float) -> Triple:
    """Layer normalization over the last dimensions, the means and 1 / deviations."""
    shape = tuple(normalized_shape)
    rank = len(input.shape)
    if not shape or tuple(input.shape[rank - len(shape):]) != shape:
        raise RuntimeError(f"Given normalized_shape={list(shape)}, expected input with shape "
                           f"[*{''.join(f', {s}' for s in shape)}], but got input of size{list(input.shape)}")
    out, mean, rstd = _normalized(to_dtype(input, input.dtype.compute),
                                  tuple(range(rank - len(shape), rank)), eps)
    of = _statistics_in(input, weight, bias)
    mean, rstd = to_dtype(mean.detach(), of), to_dtype(rstd.detach(), of)
    return to_dtype(_scaled(out, weight, bias, shape), input.dtype), mean, rstd


@op(method=False)
def native_group_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, N: int, C: int, HxW: int,
                      group: int, eps: float) -> Triple:
    """Group normalization of N samples of C channels, the means and 1 / deviations (N, group)."""
    x = to_dtype(input, input.dtype.compute).reshape(N, group, C // group * HxW)
    out, mean, rstd = _normalized(x, (2,), eps)
    out = _scaled(reshape_value(out, (N, C, HxW)), weight, bias, (1, C, 1))
    of = _statistics_in(input, weight, bias)
    return (to_dtype(reshape_value(out, input.shape), input.dtype),
            to_dtype(reshape_value(mean, (N, group)), of), to_dtype(reshape_value(rstd, (N, group)), of))


@op(method=False)
def native_batch_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
                      running_var: Tensor | None, training: bool, momentum: float, eps: float) -> Triple:
    """Batch normalization; in training also the means and 1 / deviations (C), and the running ones move."""
    opened_input, first = opened(input)
    shape = (1, input.shape[1], *[1] * (len(input.shape) - 2)) if first == 2 else (input.shape[1],)
    x: Any = to_dtype(opened_input, input.dtype.compute)
    of = _statistics_in(input, weight, bias, running_mean, running_var)
    if not training:
        mean, var = [v.reshape(shape) for v in (running_mean, running_var)]  # type: ignore[union-attr]
        out = (x - mean) * rsqrt(var + eps)
        nothing = empty(0, dtype=of, device=input.device)
        return closed(to_dtype(_scaled(out, weight, bias, shape), input.dtype), first), nothing, nothing.clone()
    dims = (0, *range(first, first + len(input.shape) - 2))
    out, mean, rstd = _normalized(x, dims, eps)
    mean, rstd = mean.detach().reshape(-1), rstd.detach().reshape(-1)
    count = size_of(input.shape) // input.shape[1]
    for running, value in ((running_mean, mean), (running_var, (1 / (rstd * rstd) - eps) * count / (count - 1))):
        if running is not None:
            running.mul_(1 - momentum).add_(value, alpha=momentum)
    out = closed(to_dtype(_scaled(out, weight, bias, shape), input.dtype), first)
    return out, to_dtype(mean, of), to_dtype(rstd, of)


@op(method=False)
def _native_batch_norm_legit(input: Tensor, weight: Tensor | None, bias: Tensor | None, *rest: Any) -> Triple:
    """`native_batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps)`; without running
    statistics `(input, weight, bias, training, momentum, eps)`, by those of the batch."""
    if len(rest) == 3:
        rest = (None, None, *rest)
    running_mean, running_var, training, momentum, eps = rest
    return native_batch_norm(input, weight, bias, running_mean, running_var, training or running_mean is None,
                             momentum, eps)
