"""Automatic differentiation: the tape, walking it backwards, and functions with gradients of one's own."""

import importlib
from typing import Any

from facula.autograd import functional, graph, profiler
from facula.autograd.backward import backward, grad
from facula.autograd.function import Function, Variable
from facula.autograd.grad_mode import set_multithreading_enabled
from facula.autograd.gradcheck import GradcheckError, gradcheck, gradgradcheck
from facula.autograd.modes import (
    detect_anomaly,
    enable_grad,
    inference_mode,
    is_anomaly_check_nan_enabled,
    is_anomaly_enabled,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_detect_anomaly,
    set_grad_enabled,
)

__all__ = ["Function", "GradcheckError", "Variable", "backward", "detect_anomaly", "enable_grad", "forward_ad",
           "functional", "grad", "gradcheck", "gradgradcheck", "graph", "inference_mode",
           "is_anomaly_check_nan_enabled", "is_anomaly_enabled", "is_grad_enabled",
           "is_inference_mode_enabled", "no_grad", "profiler", "set_detect_anomaly", "set_grad_enabled",
           "set_multithreading_enabled"]


def variable(*args: Any, **kwargs: Any) -> Any:
    """RuntimeError: `torch.tensor` took its place."""
    raise RuntimeError("torch.autograd.variable(...) is deprecated, use torch.tensor(...) instead")


variable.Variable = Variable  # type: ignore[attr-defined]  # `from torch.autograd import variable` may mean the page


def is_multithreading_enabled() -> bool:
    """May backward passes use several threads? As far as torch's switch goes: yes."""
    return True


def is_view_replay_enabled() -> bool:
    """Are views made anew by the operations that made them? They need not be."""
    return False


def __getattr__(name: str) -> Any:
    """`forward_ad` stands on the transforms, which few programs need: loaded when first asked for."""
    if name != "forward_ad":
        raise AttributeError(f"module 'facula.autograd' has no attribute {name!r}")
    return importlib.import_module("facula.autograd.forward_ad")
