"""`torch.nn.parallel.replicate` as a module."""

from facula.nn.parallel.scattering import replicate

__all__ = ["replicate"]
