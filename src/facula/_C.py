"""What programs take from `torch._C` by name: switches of `__torch_function__`, a name of devices."""

from facula import devices
from facula.ops.listening import disabled as _disabled_torch_function_impl
from facula.ops.listening import quiet as DisableTorchFunction
from facula.ops.listening import subclasses_quiet as DisableTorchFunctionSubclass

__all__ = ["DisableTorchFunction", "DisableTorchFunctionSubclass", "_disabled_torch_function_impl",
           "_get_privateuse1_backend_name", "_log_api_usage_once"]


def _log_api_usage_once(event: str) -> None:
    """Nothing: PyTorch may count here which of its parts are used, where a program has asked for that."""


def _get_privateuse1_backend_name() -> str:
    """What devices of type `privateuseone` are called."""
    return devices.name_of(devices.CUSTOM)
