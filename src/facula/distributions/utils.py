"""What distributions share: broadcasting of parameters, probabilities as logits and back, values computed once."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any

import facula
from facula._tensor.handle import Tensor

__all__ = ["broadcast_all", "clamp_probs", "lazy_property", "logits_to_probs", "probs_to_logits", "tril_matrix_to_vec",
           "vec_to_tril_matrix"]

euler_constant = 0.57721566490153286060


def broadcast_all(*values: Any) -> tuple[Any, ...]:
    """Numbers and tensors as tensors of one shape. Numbers take dtype and device of the first tensor.

    Raises:
        ValueError: something else than numbers and tensors.

    Example:
        >>> import facula
        >>> [tuple(x.shape) for x in facula.distributions.utils.broadcast_all(1.0, facula.zeros(2, 1), facula.zeros(3))]
        [(2, 3), (2, 3), (2, 3)]
    """
    if not all(isinstance(v, (Tensor, int, float)) or hasattr(type(v), "__torch_function__") for v in values):
        raise ValueError("Input arguments must all be instances of Number, torch.Tensor or objects implementing "
                         "__torch_function__.")
    if not all(isinstance(v, Tensor) for v in values):
        of, place = facula.get_default_dtype(), None
        for v in values:
            if isinstance(v, Tensor):
                of, place = v.dtype, v.device
                break
        values = tuple(v if isinstance(v, Tensor) else facula.tensor(v, dtype=of, device=place) for v in values)
    return tuple(facula.broadcast_tensors(*values))


def standard_normal(shape: Any, dtype: Any, device: Any) -> Any:
    """Standard normal numbers."""
    return facula.empty(shape, dtype=dtype, device=device).normal_()


_standard_normal = standard_normal


def _sum_rightmost(value: Any, dim: int) -> Any:
    """The sum over the last `dim` dimensions."""
    if dim == 0:
        return value
    return value.reshape((*value.shape[:-dim], -1)).sum(-1)


def clamp_probs(probs: Any) -> Any:
    """Probabilities at least eps away from 0 and 1, so that their logarithms are finite."""
    eps = facula.finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def logits_to_probs(logits: Any, is_binary: bool = False) -> Any:
    """The probabilities of log odds (`is_binary`), or of unnormalized log probabilities along the last dimension.

    Example:
        >>> import facula
        >>> facula.distributions.utils.logits_to_probs(facula.zeros(2))
        tensor([0.5000, 0.5000])
    """
    return facula.sigmoid(logits) if is_binary else facula.softmax(logits, dim=-1)


def probs_to_logits(probs: Any, is_binary: bool = False) -> Any:
    """The log odds of probabilities (`is_binary`), or their logarithms.

    Example:
        >>> import facula
        >>> facula.distributions.utils.probs_to_logits(facula.tensor(0.5), is_binary=True)
        tensor(0.)
    """
    clamped = clamp_probs(probs)
    return facula.log(clamped) - facula.log1p(-clamped) if is_binary else facula.log(clamped)


class lazy_property:
    """A property that is computed when it is first read, and kept as an attribute of the instance.

    Example:
        >>> from facula.distributions.utils import lazy_property
        >>> class Square:
        ...     @lazy_property
        ...     def area(self):
        ...         print("computed")
        ...         return 4
        >>> s = Square()
        >>> s.area, s.area
        computed
        (4, 4)
    """

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        self.wrapped = wrapped
        update_wrapper(self, wrapped)  # type: ignore[arg-type]

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return _OnClass(self.wrapped)
        with facula.enable_grad():  # it may be read again where a gradient is needed
            value = self.wrapped(instance)
        setattr(instance, self.wrapped.__name__, value)
        return value


class _OnClass(lazy_property, property):
    """What `Class.lazy` gives: a lazy_property, which documentation takes for a property."""

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        property.__init__(self, wrapped)


_lazy_property_and_property = _OnClass


def tril_matrix_to_vec(mat: Any, diag: int = 0) -> Any:
    """The elements of the lower triangle of a matrix (..., D, D), up to the diagonal `diag`, row by row.

    Example:
        >>> import facula
        >>> facula.distributions.utils.tril_matrix_to_vec(facula.tensor([[1, 2], [3, 4]]))
        tensor([1, 3, 4])
    """
    n = mat.shape[-1]
    if diag < -n or diag >= n:
        raise ValueError(f"diag ({diag}) provided is outside [{-n}, {n - 1}].")
    rows, columns = facula.tril_indices(n, n, diag)
    return mat[..., rows, columns]


def vec_to_tril_matrix(vec: Any, diag: int = 0) -> Any:
    """The lower triangular matrix with these elements: what `tril_matrix_to_vec` gives, put back.

    Raises:
        ValueError: no triangle has so many elements.

    Example:
        >>> import facula
        >>> facula.distributions.utils.vec_to_tril_matrix(facula.tensor([1., 3., 4.]))
        tensor([[1., 0.],
                [3., 4.]])
    """
    count = vec.shape[-1]
    # A triangle of n rows whose last diagonal is `diag` has n (n + 1) / 2 + n diag - diag (diag + 1) / 2 elements, or
    # for a negative one (n + diag) (n + diag + 1) / 2.
    n = (-(1 + 2 * diag) + ((1 + 2 * diag) ** 2 + 8 * count + 4 * abs(diag) * (diag + 1)) ** 0.5) / 2
    if abs(round(n) - n) > facula.finfo(vec.dtype).eps:
        raise ValueError(f"The size of last dimension is {count} which cannot be expressed as the lower triangular "
                         "part of a square D x D matrix.")
    size = int(round(n))
    made = facula.zeros((*vec.shape[:-1], size, size), dtype=vec.dtype, device=vec.device)
    rows, columns = facula.tril_indices(size, size, diag)
    made[..., rows, columns] = vec
    return made
