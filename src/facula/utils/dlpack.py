"""DLPack under the name it has in PyTorch: see `facula.dlpack`."""

from facula.dlpack import DLDeviceType, from_dlpack, to_dlpack

__all__ = ["DLDeviceType", "from_dlpack", "to_dlpack"]
