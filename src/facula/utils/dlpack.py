"""DLPack under the name it has in PyTorch: see `facula.dlpack`."""

from facula.dlpack import from_dlpack, to_dlpack
from facula.exchange import DLDeviceType

__all__ = ["DLDeviceType", "from_dlpack", "to_dlpack"]
