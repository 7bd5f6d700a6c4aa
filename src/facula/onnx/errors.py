"""Exceptions of an export to ONNX; nothing raises them yet."""

from __future__ import annotations

__all__ = ["OnnxExporterError", "OnnxExporterWarning", "SymbolicValueError", "UnsupportedOperatorError"]


class OnnxExporterError(RuntimeError):
    """An export has failed."""


class OnnxExporterWarning(UserWarning):
    """An export is doubtful."""


class UnsupportedOperatorError(OnnxExporterError):
    """An operation that ONNX lacks."""


class SymbolicValueError(OnnxExporterError):
    """A value that ONNX cannot say."""
