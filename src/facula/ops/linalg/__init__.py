"""Linear algebra: NumPy's LAPACK on the host, with gradients in terms of tensor operations."""

from facula.ops.linalg import (  # noqa: F401
    cholesky,
    determinants,
    eigenvalues,
    ldl,
    least_squares,
    low_rank,
    lu,
    matrix_chain,
    matrix_functions,
    matrix_norms,
    qr,
    root_norms,
    svd,
    systems,
    vectors,
)
