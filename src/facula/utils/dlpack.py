"""DLPack under the name it has in PyTorch: see `facula.dlpack`."""

from facula._tensor.exchange import DLDeviceType
from facula.dlpack import from_dlpack, to_dlpack

__all__ = ["DLDeviceType", "from_dlpack", "to_dlpack"]
