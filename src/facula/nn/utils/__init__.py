"""Helpers for gradients and parameters."""

import importlib as _importlib
from typing import Any as _Any

from . import clip_grad, convert_parameters, fusion, init, memory_format, rnn, stateless
from .clip_grad import (
    clip_grad_norm,
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    get_total_norm,
)
from .convert_parameters import parameters_to_vector, vector_to_parameters
from .fusion import fuse_conv_bn_eval, fuse_conv_bn_weights, fuse_linear_bn_eval, fuse_linear_bn_weights
from .init import skip_init
from .memory_format import convert_conv2d_weight_memory_format, convert_conv3d_weight_memory_format
from .spectral_norm import remove_spectral_norm, spectral_norm
from .weight_norm import remove_weight_norm, weight_norm

__all__ = ["clip_grad", "clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_",
           "convert_conv2d_weight_memory_format", "convert_conv3d_weight_memory_format", "convert_parameters",
           "fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights", "fusion",
           "get_total_norm", "init", "memory_format", "parameters_to_vector", "parametrizations", "parametrize",
           "prune", "remove_spectral_norm", "remove_weight_norm", "rnn", "skip_init", "spectral_norm", "stateless",
           "vector_to_parameters", "weight_norm"]


def __getattr__(name: str) -> _Any:
    """What few programs need is loaded when it is first asked for."""
    if name in ("parametrizations", "parametrize", "prune"):
        return _importlib.import_module(f"facula.nn.utils.{name}")
    raise AttributeError(f"module 'facula.nn.utils' has no attribute {name!r}")
