"""`torch._dynamo.utils`: what libraries ask of torch's tracer."""

from __future__ import annotations

from typing import Any

from facula import absent

__all__ = ["is_compile_supported"]


def is_compile_supported(device_type: str) -> bool:
    """Does torch's compiler make programs for these devices? No: nothing is compiled by it here."""
    return False


def __getattr__(name: str) -> Any:
    raise absent.missing("_dynamo.utils", name)
