"""Names at the root that take the arguments of a function of `nn.functional` in another order."""

from __future__ import annotations

from typing import Any

from facula.nn.functional import normalization
from facula.ops.registry import op


@op(method=False)
def layer_norm(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5,
               cudnn_enable: bool = True) -> Any:
    """`nn.functional.layer_norm`; `cudnn_enable` changes nothing."""
    return normalization.layer_norm(input, normalized_shape, weight, bias, eps)


@op(method=False)
def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5,
               cudnn_enabled: bool = True) -> Any:
    """`nn.functional.group_norm`; `cudnn_enabled` changes nothing."""
    return normalization.group_norm(input, num_groups, weight, bias, eps)


@op(method=False)
def batch_norm(input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: bool,
               momentum: float, eps: float, cudnn_enabled: bool) -> Any:
    """`nn.functional.batch_norm`, the parameters first; `cudnn_enabled` changes nothing."""
    return normalization.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


@op(method=False)
def instance_norm(input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, use_input_stats: bool,
                  momentum: float, eps: float, cudnn_enabled: bool) -> Any:
    """`nn.functional.instance_norm`, the parameters first; `cudnn_enabled` changes nothing."""
    return normalization.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
