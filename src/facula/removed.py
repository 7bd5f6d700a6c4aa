"""Functions that PyTorch has removed and still has the names of: each says what to write instead."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["eig", "lstsq", "matrix_rank", "solve", "symeig"]


def _gone(rest: str) -> NoReturn:
    raise RuntimeError(f"This function was deprecated since version 1.9 and is now removed. {rest}")


def eig(self: Any, eigenvectors: bool = False, *, e: Any = None, v: Any = None) -> NoReturn:
    """RuntimeError: `torch.linalg.eig`."""
    _gone("`torch.linalg.eig` returns complex tensors of dtype `cfloat` or `cdouble` rather than real tensors "
          "mimicking complex tensors. Write L_complex = torch.linalg.eigvals(A), or "
          "L_complex, V_complex = torch.linalg.eig(A)")


def lstsq(input: Any, A: Any, *, out: Any = None) -> NoReturn:
    """RuntimeError: `torch.linalg.lstsq`."""
    _gone("`torch.lstsq` is deprecated in favor of `torch.linalg.lstsq`, which has the arguments the other way around "
          "and no QR decomposition in its result. "
          "X = torch.lstsq(B, A).solution[:A.size(1)] is "
          "X = torch.linalg.lstsq(A, B).solution")


def matrix_rank(input: Any, tol: Any = None, symmetric: bool = False, *, out: Any = None) -> NoReturn:
    """RuntimeError: `torch.linalg.matrix_rank`."""
    _gone("\nPlease use the `torch.linalg.matrix_rank` function instead. The parameter 'symmetric' was renamed in "
          "`torch.linalg.matrix_rank()` to 'hermitian'.")


def solve(input: Any, A: Any, *, out: Any = None) -> NoReturn:
    """RuntimeError: `torch.linalg.solve`."""
    _gone("`torch.solve` is deprecated in favor of `torch.linalg.solve`, which has its arguments reversed and does not "
          "return the LU factorization (see `torch.lu`). X = torch.solve(B, A).solution is "
          "X = torch.linalg.solve(A, B)")


def symeig(input: Any, eigenvectors: bool = False, upper: bool = True, *, out: Any = None) -> NoReturn:
    """RuntimeError: `torch.linalg.eigh`."""
    _gone("The default behavior has changed from using the upper triangular portion of the matrix by default to using "
          "the lower triangular portion. Write L = torch.linalg.eigvalsh(A, UPLO='U' if upper else 'L'), or "
          "L, V = torch.linalg.eigh(A, UPLO='U' if upper else 'L')")
