"""The product of a chain of matrices, in the order that costs least."""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor
from facula.ops.product.matrix_products import mm
from facula.ops.registry import op
from facula.ops.view.value_views import VIEW_RULE, reshape_value


def _cheapest(sizes: list[int]) -> list[list[int]]:
    """Where to split each run of a chain of matrices (i has sizes[i] x sizes[i + 1])."""
    n = len(sizes) - 1
    cost = [[0] * n for _ in range(n)]
    split = [[0] * n for _ in range(n)]
    for length in range(2, n + 1):
        for i in range(n - length + 1):
            j = i + length - 1
            options = [(cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                       for k in range(i, j)]
            cost[i][j], split[i][j] = min(options)
    return split


@op(method=False, out=True, namespace="linalg")
def multi_dot(tensors: Any) -> Tensor:
    """The product of a chain of matrices in the order that costs least."""
    chain = list(tensors)
    if len(chain) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(chain)}")
    first, last = chain[0], chain[-1]
    shape: list[int] = []
    if len(first.shape) == 1:
        chain[0] = reshape_value(first, (1, first.shape[0]))
    elif len(first.shape) == 2:
        shape.append(first.shape[0])
    else:
        raise RuntimeError("multi_dot(): the first tensor must be 1D or 2D but got "
                           f"{len(first.shape)}D")
    if len(last.shape) == 1:
        chain[-1] = reshape_value(last, (last.shape[0], 1))
    elif len(last.shape) == 2:
        shape.append(last.shape[1])
    else:
        raise RuntimeError("multi_dot(): the last tensor must be 1D or 2D but got "
                           f"{len(last.shape)}D")
    for i, t in enumerate(chain):
        if len(t.shape) != 2:
            raise RuntimeError(f"multi_dot(): tensor {i} must be 2D but got {len(t.shape)}D")
        if i and chain[i - 1].shape[1] != t.shape[0]:
            raise RuntimeError(f"multi_dot(): tensors {i - 1} and {i} with shapes "
                               f"{list(chain[i - 1].shape)} and {list(t.shape)} cannot be "
                               "multiplied")
    split = _cheapest([chain[0].shape[0], *[t.shape[1] for t in chain]])

    def between(i: int, j: int) -> Tensor:
        if i == j:
            return chain[i]  # type: ignore[no-any-return]
        k = split[i][j]
        return mm(between(i, k), between(k + 1, j))

    return reshape_value(between(0, len(chain) - 1), tuple(shape), VIEW_RULE)


@op(method=False)
def chain_matmul(*matrices: Tensor) -> Tensor:
    """As `linalg.multi_dot`, of its arguments."""
    if len(matrices) == 1:
        return matrices[0]
    return multi_dot(matrices)
