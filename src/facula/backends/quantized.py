"""Engines for quantized tensors: none, so the only choice is `none`."""

from __future__ import annotations

engine = "none"
supported_engines = ["none"]
