"""`torch.autograd.anomaly_mode`: detecting NaN, under the name of its page in PyTorch."""

from __future__ import annotations

from facula.autograd.modes import detect_anomaly, set_detect_anomaly

__all__ = ["detect_anomaly", "set_detect_anomaly"]
