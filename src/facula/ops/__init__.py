"""The operations. Importing this package fills `registry.FUNCTIONS`, `NAMESPACES` and Tensor's methods."""

import importlib as _importlib
import importlib.util as _util

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
    """`torch.ops.namespace`: what programs have defined by `facula.library`; and `torch.ops.aten`."""
    from facula.ops.custom_namespaces import load_library, loaded_libraries, namespace, namespaces
    if name in ("load_library", "loaded_libraries"):
        return load_library if name == "load_library" else loaded_libraries
    if name == "aten":
        from facula.ops.aten_names import aten
        return aten
    if name == "higher_order":
        _importlib.import_module("facula._higher_order_ops")  # which has them
    if name.startswith("__"):
        raise AttributeError(f"module 'facula.ops' has no attribute {name!r}")
    if name not in namespaces and _util.find_spec(f"{__name__}.{name}") is not None:
        return _importlib.import_module(f"{__name__}.{name}")  # a wing of this package that nobody has imported yet
    return namespace(name)  # torch's are there whatever is in them: hasattr(torch.ops.mine, "op")
