"""The operations. Importing this package fills `registry.FUNCTIONS`, `NAMESPACES` and Tensor's methods."""

from facula.ops import (  # noqa: F401
    activations,
    arithmetic,
    conversion,
    convolution,
    creation,
    einsum,
    gathering,
    indexing,
    linalg,
    matmul,
    pooling,
    random,
    reductions,
    scans,
    scattering,
    shape,
    sorting,
    statistics,
    views,
    windows,
)
