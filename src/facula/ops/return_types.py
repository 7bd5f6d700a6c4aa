"""The named tuples of `torch.return_types`."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

# By position.
_FIELDS = {name: tuple(fields.split()) for name, fields in {
    "aminmax": "min max", "frexp": "mantissa exponent", "geqrf": "a tau", "histogram": "hist bin_edges",
    "histogramdd": "hist bin_edges", "linalg_cholesky_ex": "L info", "linalg_eig": "eigenvalues eigenvectors",
    "linalg_eigh": "eigenvalues eigenvectors", "linalg_inv_ex": "inverse info", "linalg_ldl_factor": "LD pivots",
    "linalg_ldl_factor_ex": "LD pivots info", "linalg_lstsq": "solution residuals rank singular_values",
    "linalg_lu": "P L U", "linalg_lu_factor": "LU pivots", "linalg_lu_factor_ex": "LU pivots info", "linalg_qr": "Q R",
    "linalg_slogdet": "sign logabsdet", "linalg_solve_ex": "result info", "linalg_svd": "U S Vh",
    "lu": "LU pivots info", "lu_unpack": "P L U", "qr": "Q R", "slogdet": "sign logabsdet", "svd": "U S V",
    "triangular_solve": "solution cloned_coefficient", **dict.fromkeys((
        "cummax", "cummin", "kthvalue", "max", "median", "min", "mode", "nanmedian", "sort", "topk"), "values indices"),
}.items()}
_result_types: dict[str, Any] = {}


def result_type(name: str) -> Any:
    """The named tuple `torch.return_types.<name>`."""
    found = _result_types.get(name)
    if found is None:
        fields = _FIELDS[name]
        count = len(fields)
        base = namedtuple(name, fields)  # type: ignore[misc]

        def show(self: Any) -> str:
            inner = ",\n".join(f"{f}={v!r}" for f, v in zip(fields, self, strict=False))
            return f"torch.return_types.{name}(\n{inner})"

        def make(cls: Any, *items: Any) -> Any:  # of one sequence, as PyTorch's are, or field by field
            given = items if len(items) != 1 else tuple(items[0]) if hasattr(items[0], "__iter__") else None
            if given is None:
                raise TypeError("constructor requires a sequence")
            if len(given) != count:
                raise TypeError(f"torch.return_types.{name}() takes a {count}-sequence ({len(given)}-sequence given)")
            return tuple.__new__(cls, given)

        def reduce(self: Any) -> Any:
            return type(self), (tuple(self),)
        found = type(name, (base,), {
            "__slots__": (), "__module__": "torch.return_types", "__repr__": show, "__new__": make,
            "__reduce__": reduce, "n_fields": count, "n_sequence_fields": count, "n_unnamed_fields": 0})
        _result_types[name] = found
    return found


def names() -> list[str]:
    """Of all that there are."""
    return [*_FIELDS]
