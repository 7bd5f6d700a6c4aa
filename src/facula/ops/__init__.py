"""The operations. Importing this package fills `registry.FUNCTIONS`, `NAMESPACES` and Tensor's methods."""

from facula.ops import (  # noqa: F401
    fourier,
    linalg,
    placement,
)
from facula.ops.arrange import (  # noqa: F401
    chunked,
    joining,
    padding,
    rearranging,
    sets,
    sorting,
)
from facula.ops.conv import (  # noqa: F401
    convolutions,
    fractional_pooling,
    pooling,
    resampling,
)
from facula.ops.create import (  # noqa: F401
    conversion,
    creation,
    windows,
)
from facula.ops.elementwise import (  # noqa: F401
    activations,
    arithmetic,
    comparison,
    elementary,
    logic,
    operators,
    rounding,
    transcendental,
)
from facula.ops.index import (  # noqa: F401
    gathering,
    indexing,
    masked_index,
    masking,
    scattering,
    segments,
)
from facula.ops.norm import (  # noqa: F401
    normalizing,
)
from facula.ops.product import (  # noqa: F401
    added_products,
    einstein,
    linear,
    matrix_products,
    tensor_products,
)
from facula.ops.random import (  # noqa: F401
    gamma,
    sampling,
)
from facula.ops.reduce import (  # noqa: F401
    extrema,
    histograms,
    norms,
    order_statistics,
    reductions,
    scans,
    softmaxes,
    statistics,
)
from facula.ops.special import (  # noqa: F401
    airy,
    bessel,
    functions,
    modified_bessel,
    orthogonal_polynomials,
)
from facula.ops.view import (  # noqa: F401
    broadcasting,
    copying,
    diagonals,
    dtype_views,
    permuting,
    reshaping,
    slicing,
    splitting,
    views,
)


def __getattr__(name: str) -> object:
    """`torch.ops.namespace`: what programs have defined by `facula.library`."""
    from facula.ops.custom_namespaces import namespaces
    if name.startswith("__") or name not in namespaces:
        raise AttributeError(f"module 'facula.ops' has no attribute {name!r}: no operation of that namespace is "
                             "registered (facula.library.custom_op), and PyTorch's own are not there by that name yet")
    return namespaces[name]
