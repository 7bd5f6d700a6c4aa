"""Methods of Tensor that are about sparse tensors: those that make one, and those that a dense tensor refuses."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from facula._tensor.handle import Tensor
from facula.ops.registry import method


def _handler(name: str) -> Callable[..., Any]:
    import_module("facula.sparse")
    return import_module("facula.sparse._tensor").HANDLERS[name]  # type: ignore[no-any-return]


@method
def to_sparse(self: Tensor, *args: Any, layout: Any = None, blocksize: Any = None, dense_dim: Any = None,
              sparse_dim: Any = None) -> Any:
    """A sparse tensor of the elements that are not 0.

    Args:
        sparse_dim: how many dimensions are sparse, from the first on: all. The others are rows of elements.
        layout: `torch.sparse_coo`, `torch.sparse_csr` or `torch.sparse_csc`.

    Raises:
        RuntimeError: there are fewer dimensions. NotImplementedError: another layout.

    Example:
        >>> import facula
        >>> facula.eye(2).to_sparse().indices()
        tensor([[0, 1],
                [0, 1]])
    """
    return _handler("to_sparse")(self, *args, layout=layout, blocksize=blocksize, dense_dim=dense_dim,
                                 sparse_dim=sparse_dim)


@method
def to_sparse_coo(self: Tensor) -> Any:
    """`to_sparse` by places."""
    return _handler("to_sparse")(self)


@method
def to_sparse_csr(self: Tensor, dense_dim: int | None = None) -> Any:
    """`to_sparse` by rows: a matrix of layout `torch.sparse_csr`."""
    return _handler("to_sparse_csr")(self, dense_dim)


@method
def to_sparse_csc(self: Tensor, dense_dim: int | None = None) -> Any:
    """`to_sparse` by columns: a matrix of layout `torch.sparse_csc`."""
    return _handler("to_sparse_csc")(self, dense_dim)


@method
def to_sparse_bsr(self: Tensor, blocksize: Any, dense_dim: int | None = None) -> Any:
    """`to_sparse` by rows of blocks: not in Facula yet."""
    raise NotImplementedError("sparse tensors of blocks (torch.sparse_bsr) are not in Facula yet: to_sparse_csr()")


@method
def to_sparse_bsc(self: Tensor, blocksize: Any, dense_dim: int | None = None) -> Any:
    """`to_sparse` by columns of blocks: not in Facula yet."""
    raise NotImplementedError("sparse tensors of blocks (torch.sparse_bsc) are not in Facula yet: to_sparse_csc()")


@method
def sparse_mask(self: Tensor, mask: Any) -> Any:
    """The elements at the places of a sparse tensor, as a sparse tensor.

    Example:
        >>> import facula
        >>> facula.arange(4.0).view(2, 2).sparse_mask(facula.eye(2).to_sparse()).values()
        tensor([0., 3.])
    """
    return _handler("sparse_mask")(self, mask)


@method
def sparse_dim(self: Tensor) -> int:
    """How many dimensions are sparse: none."""
    return 0


@method
def dense_dim(self: Tensor) -> int:
    """How many dimensions are dense: all."""
    return len(self.shape)


@method
def smm(self: Tensor, mat: Any) -> Any:
    """The product of a sparse matrix with a dense one, as a sparse one."""
    return _handler("smm")(self, mat)


@method
def sspaddmm(self: Tensor, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """`beta * self + alpha * (mat1 @ mat2)`: all of it sparse but `mat2`."""
    return _handler("sspaddmm")(self, mat1, mat2, beta=beta, alpha=alpha)


def _refusal(name: str, wanted: str) -> None:
    def refused(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"{name} expected {wanted} tensor layout but got Strided")
    refused.__name__ = refused.__qualname__ = name
    refused.__doc__ = f"Of sparse tensors alone: `torch.sparse`. A dense one raises RuntimeError ({wanted})."
    method(refused)


for _name, _wanted in {
        **dict.fromkeys(("indices", "_indices", "_nnz", "coalesce", "is_coalesced", "_coalesced_", "sparse_resize_",
                         "sparse_resize_and_clear_", "resize_as_sparse_"), "sparse coordinate"),
        "values": "sparse", "_values": "sparse",
        **dict.fromkeys(("crow_indices", "col_indices"), "sparse row compressed"),
        **dict.fromkeys(("ccol_indices", "row_indices"), "sparse column compressed")}.items():
    _refusal(_name, _wanted)
