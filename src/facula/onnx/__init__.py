"""`torch.onnx`, importable: Facula exports nothing to ONNX yet.

Example:
    >>> import facula.onnx
    >>> facula.onnx.is_in_onnx_export()
    False
    >>> facula.onnx.export(None, (), "model.onnx")
    Traceback (most recent call last):
    facula.absent.NotInFacula: torch.onnx.export is not in Facula yet...
"""

from __future__ import annotations

from typing import Any

from facula import absent
from facula.onnx.translations import opset, register_custom_op_symbolic, unregister_custom_op_symbolic

__all__ = ["ExportableModule", "InputObserver", "ONNXProgram", "OnnxExporterError", "errors", "export",
           "is_in_onnx_export", "register_custom_op_symbolic", "unregister_custom_op_symbolic"]

_INSTEAD = "save the state_dict (torch.save) and export it with PyTorch"
export = absent.function("torch.onnx.export", _INSTEAD)
ONNXProgram = absent.kind("torch.onnx.ONNXProgram", _INSTEAD)
ExportableModule = absent.kind("torch.onnx.ExportableModule", _INSTEAD)
InputObserver = absent.kind("torch.onnx.InputObserver", _INSTEAD)


def is_in_onnx_export() -> bool:
    """False: nothing is being exported."""
    return False


def __getattr__(name: str) -> Any:
    if name in ("errors", "OnnxExporterError"):
        import importlib
        errors = importlib.import_module("facula.onnx.errors")
        return errors if name == "errors" else errors.OnnxExporterError
    if name == "symbolic_helper":
        import importlib
        return importlib.import_module("facula.onnx.symbolic_helper")
    if name.startswith("symbolic_opset") and name[14:].isdigit():
        return opset(name)
    raise absent.missing("onnx", name)
