"""`torch.nn.parallel.scatter_gather` as a module."""

from facula.nn.parallel.scattering import gather, scatter, scatter_kwargs

__all__ = ["gather", "scatter", "scatter_kwargs"]
