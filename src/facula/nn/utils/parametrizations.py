"""Parametrizations that are there already: orthogonal matrices, weight normalization, spectral normalization."""

from __future__ import annotations

from typing import Any

import facula
import facula.nn.functional as F
from facula._tensor.handle import Tensor
from facula.nn.modules.module import Module
from facula.nn.utils import parametrize
from facula.nn.utils._norms import estimated, lengths, power_iterations, weight_matrix, weight_of

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


def _tensor_of(module: Module, name: str) -> Tensor:
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    return weight


# ---- orthogonal -------------------------------------------------------------------------------------------

_MAPS = ("matrix_exp", "cayley", "householder")


def _is_orthogonal(Q: Tensor) -> bool:
    """Up to ten units in the last place for each column."""
    n, k = Q.shape[-2:]
    one = facula.eye(k, dtype=Q.dtype, device=Q.device)
    eps = 10.0 * n * facula.finfo(Q.dtype).eps
    return bool(facula.allclose(Q.mH @ Q, one, atol=eps))


def _made_orthogonal(A: Tensor) -> Any:
    """The nearest thing to A that QR gives: the diagonal of R is positive."""
    X, tau = facula.geqrf(A)
    Q = facula.linalg.householder_product(X, tau)
    return Q * X.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)


class _Orthogonal(Module):
    """From any matrix to one whose columns (of a wide one: rows) are orthonormal."""

    base: Tensor

    def __init__(self, weight: Tensor, orthogonal_map: str, *, use_trivialization: bool = True) -> None:
        super().__init__()
        if weight.is_complex() and orthogonal_map == "householder":
            raise ValueError("The householder parametrization does not support complex tensors.")
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Tensor) -> Any:
        n, k = X.shape[-2:]
        wide = n < k
        if wide:
            X, n, k = X.mT, k, n
        if self.orthogonal_map == "householder":
            A = X.tril(-1)
            tau = 2.0 / (1.0 + (A * A).sum(dim=-2))
            Q = facula.linalg.householder_product(A, tau)
            Q = Q * X.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2)  # signs, which `right_inverse` puts there
        else:
            X = X.tril()
            if n != k:
                X = facula.cat([X, X.new_zeros(*X.shape[:-2], n, n - k)], dim=-1)
            A = X - X.mH  # skew-symmetric
            if self.orthogonal_map == "matrix_exp":
                Q = facula.matrix_exp(A)
            else:
                one = facula.eye(n, dtype=A.dtype, device=A.device)
                Q = facula.linalg.solve(facula.add(one, A, alpha=-0.5), facula.add(one, A, alpha=0.5))
            if n != k:
                Q = Q[..., :k]
        if hasattr(self, "base"):
            Q = self.base @ Q
        return Q.mT if wide else Q

    def right_inverse(self, Q: Tensor) -> Any:
        if Q.shape != self.shape:
            raise ValueError(f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of shape "
                             f"{Q.shape}.")
        given = Q
        n, k = Q.shape[-2:]
        wide = n < k
        if wide:
            Q, n, k = Q.mT, k, n
        with facula.no_grad():
            if not hasattr(self, "base"):
                if self.orthogonal_map != "householder":
                    raise NotImplementedError("It is not possible to assign to the matrix exponential or the Cayley "
                                              "parametrizations when use_trivialization=False.")
                A, tau = facula.geqrf(Q)
                signs = A.diagonal(dim1=-2, dim2=-1)
                signs.sign_()
                signs[tau == 0.0] *= -1  # no reflection there: the sign of the column is the other one
                return A.mT if wide else A
            if n == k:
                Q = Q.clone() if _is_orthogonal(Q) else _made_orthogonal(Q)
            else:  # filled up to a square one
                rest = facula.randn(*Q.shape[:-2], n, n - k, dtype=Q.dtype, device=Q.device)
                Q = _made_orthogonal(facula.cat([Q, rest], dim=-1))
            self.base = Q
            zero = facula.zeros_like(given)  # of which the map makes the identity
            zero.diagonal(dim1=-2, dim2=-1).fill_(-1.0)
            return zero


def orthogonal(module: Module, name: str = "weight", orthogonal_map: str | None = None, *,
               use_trivialization: bool = True) -> Module:
    """Keep a matrix, or a batch of them, orthogonal (unitary): of a tall one the columns, of a wide one the rows.

    Args:
        module: whose tensor it is.
        name: of the tensor, of shape (*, n, k).
        orthogonal_map: "matrix_exp", "cayley" or "householder". Default: "matrix_exp" for square and complex matrices,
            else "householder".
        use_trivialization: train around the value that the tensor has, which can be assigned to then.

    Raises:
        ValueError: if there is no such tensor, it has fewer than two dimensions, or the map is unknown.

    Example:
        >>> import facula
        >>> import facula.nn as nn
        >>> layer = nn.utils.parametrizations.orthogonal(nn.Linear(20, 40))
        >>> bool(facula.allclose(layer.weight.T @ layer.weight, facula.eye(20), atol=1e-5))
        True
    """
    weight = _tensor_of(module, name)
    if weight.ndim < 2:
        raise ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.ndim} dimensions.")
    if orthogonal_map is None:
        square = weight.shape[-2] == weight.shape[-1]
        orthogonal_map = "matrix_exp" if square or weight.is_complex() else "householder"
    if orthogonal_map not in _MAPS:
        raise ValueError('orthogonal_map has to be one of "matrix_exp", "cayley", "householder". '
                         f'Got: {orthogonal_map}')
    parametrization = _Orthogonal(weight, orthogonal_map, use_trivialization=use_trivialization)
    return parametrize.register_parametrization(module, name, parametrization, unsafe=True)


# ---- weight normalization --------------------------------------------------------------------------------


class _WeightNorm(Module):
    """From lengths and directions to the weight."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Any:
        return weight_of(weight_v, weight_g, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return lengths(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Train a tensor's lengths (`original0`) apart from its directions (`original1`): weight = g * v / |v|.

    Args:
        module: whose tensor it is.
        name: of the tensor.
        dim: along which there is a length for each entry. None: one length for all of it.

    Example:
        >>> import facula.nn as nn
        >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(20, 40))
        >>> layer.parametrizations.weight.original0.shape
        torch.Size([40, 1])
    """
    parametrize.register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def renamed(state: dict[str, Any], prefix: str, *_: Any) -> None:
        """Files of the older `nn.utils.weight_norm` have other names."""
        old = f"{prefix}{name}_g", f"{prefix}{name}_v"
        if old[0] in state and old[1] in state:
            for k in (0, 1):
                state[f"{prefix}parametrizations.{name}.original{k}"] = state.pop(old[k])
    module._register_load_state_dict_pre_hook(renamed)
    return module


# ---- spectral normalization ------------------------------------------------------------------------------


class _SpectralNorm(Module):
    """From a weight to the weight over its largest singular value, which power iterations estimate."""

    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        ndim = weight.ndim
        if dim >= ndim or dim < -ndim:
            raise IndexError(f"Dimension out of range (expected to be in range of [-{ndim}, {ndim - 1}] but got {dim})")
        if n_power_iterations <= 0:
            raise ValueError("Expected n_power_iterations to be positive, but got "
                             f"n_power_iterations={n_power_iterations}")
        self.dim = dim if dim >= 0 else dim + ndim
        self.eps = eps
        if ndim > 1:
            self.n_power_iterations = n_power_iterations
            matrix = weight_matrix(weight, self.dim)
            h, w = matrix.size()
            u, v = matrix.new_empty(h).normal_(0, 1), matrix.new_empty(w).normal_(0, 1)
            self.register_buffer("_u", F.normalize(u, dim=0, eps=eps))
            self.register_buffer("_v", F.normalize(v, dim=0, eps=eps))
            self._iterate(matrix, 15)

    def _iterate(self, matrix: Tensor, times: int) -> None:
        power_iterations(matrix, self._u, self._v, times, self.eps)

    def forward(self, weight: Tensor) -> Any:
        if weight.ndim == 1:  # its singular value is its length
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = weight_matrix(weight, self.dim)
        if self.training:
            self._iterate(matrix, self.n_power_iterations)
        return weight / estimated(matrix, self._u, self._v)

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def spectral_norm(module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12,
                  dim: int | None = None) -> Module:
    """Divide a tensor, seen as a matrix, by its largest singular value.

    Args:
        module: whose tensor it is.
        name: of the tensor.
        n_power_iterations: by which the value is estimated at each access in training mode.
        eps: what vectors' lengths are at least.
        dim: of the outputs. Default: 0, but 1 for transposed convolutions.

    Raises:
        ValueError: if there is no such tensor, or `n_power_iterations` is not positive.
        IndexError: if the tensor has no dimension `dim`.

    Example:
        >>> import facula.nn as nn
        >>> layer = nn.utils.parametrizations.spectral_norm(nn.Linear(20, 40))
        >>> 0.5 < float(layer.weight.detach().norm(p=float("inf"))) < 1.5
        False
    """
    weight = _tensor_of(module, name)
    if dim is None:
        transposed = facula.nn.ConvTranspose1d, facula.nn.ConvTranspose2d, facula.nn.ConvTranspose3d
        dim = 1 if isinstance(module, transposed) else 0
    return parametrize.register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))
