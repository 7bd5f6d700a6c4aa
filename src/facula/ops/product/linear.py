"""The linear layer's product, `x W^T + b`, as one operation."""

from __future__ import annotations

from facula._tensor.handle import Tensor
from facula.autograd.graph import Rule
from facula.engine.graph.node import size_of
from facula.ops.product.added_products import ADDMM, add_backward, add_product, check_added, same_dtype
from facula.ops.product.contraction import MATMUL, MM, product
from facula.ops.product.matrix_products import matmul
from facula.ops.product.product_checks import cannot_multiply, check_mm, type_name
from facula.ops.registry import op
from facula.ops.view.value_views import SQUEEZE_RULE, VIEW_RULE, reshape_value

_LINEAR = Rule("ViewBackward0", add_backward)


@op(method=False, namespace="nn.functional")
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x W^T + b`: (*, in) with W (out, in) or (in) to (*, out) or (*).

    Raises:
        RuntimeError: the sizes or dtypes do not fit.

    Example:
        >>> import facula
        >>> facula.nn.functional.linear(facula.ones(1, 2), facula.ones(3, 2), facula.ones(3))
        tensor([[3., 3., 3.]])
    """
    x, w = input.shape, weight.shape
    rank = len(x)
    if len(w) == 2 and rank >= 2:
        n, k = w  # unpacked: a [] of Size is Python
        *_, last = x
        if last != k:
            raise cannot_multiply(size_of(x[:-1]), last, k, n)
        of = input.dtype
        if bias is None:
            if of is not weight.dtype:
                check_mm(input, weight)
            return product(input, weight, False, True, MM if rank == 2 else MATMUL)
        if of is not weight.dtype or of is not bias.dtype:
            if of is not weight.dtype:
                raise RuntimeError("mat1 and mat2 must have the same dtype, but got "
                                   f"{type_name(of)} and {type_name(weight.dtype)}")
            same_dtype(bias, weight)
        if bias.shape != (n,):
            check_added(bias.shape, (*x[:-1], n))
        return add_product(bias, input, weight, True, 1, 1, ADDMM if rank == 2 else _LINEAR)
    if len(w) == 1 and bias is None or rank == 0:
        return matmul(input, weight)
    if rank == 1 and len(w) == 2:
        out = linear(reshape_value(input, (1, x[0])), weight, bias)
        return reshape_value(out, (w[0],), SQUEEZE_RULE if bias is None else VIEW_RULE)
    if len(w) == 1:
        raise RuntimeError("t() expects a tensor with <= 2 dimensions, but self is 1D and a bias "
                           "was given")
    raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {len(w)}D")
