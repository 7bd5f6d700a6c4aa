"""`torch.ao.quantization`: where a model says that it could be quantized. Nothing is quantized yet.

The stubs do nothing before a model is converted, in PyTorch as here; so models that have them run. What would observe,
prepare or convert is importable and raises when it is used.
"""

from __future__ import annotations

from typing import Any

from facula import absent
from facula.nn.modules.module import Module

__all__ = ["DeQuantStub", "QuantStub", "QuantWrapper"]

_FUNCTIONS = ("convert", "fuse_modules", "fuse_modules_qat", "get_default_qat_qconfig", "get_default_qconfig",
              "get_default_qconfig_mapping", "get_default_qat_qconfig_mapping", "get_observer_state_dict",
              "load_observer_state_dict", "prepare", "prepare_qat", "propagate_qconfig_", "quantize",
              "quantize_dynamic", "quantize_qat", "swap_module", "default_eval_fn", "enable_observer",
              "disable_observer",
              "enable_fake_quant", "disable_fake_quant", "default_observer", "default_weight_observer",
              "default_per_channel_weight_observer", "default_histogram_observer", "default_fake_quant",
              "default_dynamic_quant_observer")
_CLASSES = ("FakeQuantize", "FakeQuantizeBase", "FixedQParamsFakeQuantize", "FusedMovingAvgObsFakeQuantize",
            "HistogramObserver", "MinMaxObserver", "MovingAverageMinMaxObserver",
            "MovingAveragePerChannelMinMaxObserver", "NoopObserver", "ObserverBase", "PerChannelMinMaxObserver",
            "PlaceholderObserver", "QConfig", "QConfigMapping", "QuantType", "RecordingObserver")


class QuantStub(Module):
    """Where values become quantized, once a model is converted; until then what it is given.

    Example:
        >>> import facula
        >>> facula.ao.quantization.QuantStub()(facula.ones(2))
        tensor([1., 1.])
    """

    def __init__(self, qconfig: Any = None) -> None:
        super().__init__()
        if qconfig:
            self.qconfig = qconfig

    def forward(self, x: Any) -> Any:
        """`x`"""
        return x


class DeQuantStub(QuantStub):
    """Where values become floating again, once a model is converted; until then what it is given."""


class QuantWrapper(Module):
    """A module between a QuantStub and a DeQuantStub."""

    def __init__(self, module: Module) -> None:
        super().__init__()
        self.quant, self.dequant = QuantStub(), DeQuantStub()
        self.module = module
        self.train(module.training)

    def forward(self, X: Any) -> Any:
        """What the module makes of `X`."""
        return self.dequant(self.module(self.quant(X)))


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return absent.function(f"torch.ao.quantization.{name}")
    if name in _CLASSES:
        return absent.kind(f"torch.ao.quantization.{name}")
    raise absent.missing("ao.quantization", name)
