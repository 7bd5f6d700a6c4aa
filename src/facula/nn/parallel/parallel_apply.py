"""`torch.nn.parallel.parallel_apply` as a module."""

from facula.nn.parallel.scattering import parallel_apply

__all__ = ["parallel_apply"]
