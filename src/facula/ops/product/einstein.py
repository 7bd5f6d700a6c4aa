"""einsum: sums of products named by letters, as a chain of matrix products."""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor
from facula.engine.graph.node import size_of
from facula.ops.autocast_rules import LOWERED
from facula.ops.autocasting import autocast_operands
from facula.ops.product.contraction import product
from facula.ops.product.product_checks import check_batch
from facula.ops.registry import op
from facula.ops.view.permuting import permute
from facula.ops.view.reshaping import unsqueeze
from facula.ops.view.value_views import VIEW_RULE, permute_value, reshape_value

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
Labels = list[Any]  # a letter, or ("...", k): the k-th of the ellipsis's dimensions, counted from the right


def _sublists(args: tuple[Any, ...]) -> tuple[list[Tensor], list[Labels], Labels | None]:
    """einsum(x, [0, 1], y, [1, 2], [0, 2])"""
    def letters(subscripts: Any) -> Labels:
        out: Labels = []
        for s in subscripts:
            if s is Ellipsis:
                out.append("...")
            elif isinstance(s, int) and 0 <= s < 52:
                out.append(LETTERS[s])
            else:
                raise ValueError("einsum(): subscripts must be in range [0, 52) or an ellipsis")
        return out

    operands = list(args[:len(args) // 2 * 2:2])
    inputs = [letters(s) for s in args[1::2]]
    return operands, inputs, letters(args[-1]) if len(args) % 2 else None


def _split(term: str, what: str) -> Labels:
    out: Labels = []
    i = 0
    while i < len(term):
        c = term[i]
        if c == ".":
            if term[i:i + 3] != "..." or "..." in out:
                raise RuntimeError(f"einsum(): found '.' {what} that is not part of any ellipsis")
            out.append("...")
            i += 3
            continue
        if c != " ":
            if c not in LETTERS:
                raise RuntimeError(f"einsum(): invalid subscript given at index {i} in the equation string, "
                                   "subscripts must be in [a-zA-Z]")
            out.append(c)
        i += 1
    return out


def _parse(equation: str, operands: list[Tensor]) -> tuple[list[Labels], Labels | None]:
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) < len(operands):
        raise RuntimeError("einsum(): more operands were provided than specified in the equation")
    if len(terms) > len(operands):
        raise RuntimeError("einsum(): fewer operands were provided than specified in the equation")
    inputs = [_split(t, f"for operand {i}") for i, t in enumerate(terms)]
    return inputs, _split(right, "in the output") if arrow else None


def _expand(labels: Labels, rank: int, i: int) -> Labels:
    """The labels of an operand, its ellipsis written out."""
    given = len(labels) - ("..." in labels)
    if "..." not in labels:
        if given != rank:
            raise RuntimeError(f"einsum(): the number of subscripts in the equation ({given}) does not match the "
                               f"number of dimensions ({rank}) for operand {i} and no ellipsis was given")
        return labels
    if given > rank:
        raise RuntimeError(f"einsum(): the number of subscripts in the equation ({given}) is more than the number of "
                           f"dimensions ({rank}) for operand {i}")
    at = labels.index("...")
    hidden = rank - given
    return [*labels[:at], *[("...", hidden - 1 - k) for k in range(hidden)], *labels[at + 1:]]


def _diagonals(x: Tensor, labels: Labels) -> tuple[Tensor, Labels]:
    """Repeated labels within one operand become its diagonal."""
    labels = list(labels)
    for label in list(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            x = x.diagonal(0, first, second)
            labels = [m for k, m in enumerate(labels) if k not in (first, second)] + [label]
    return x, labels


def _sum_over(x: Tensor, labels: Labels, dropped: list[Any]) -> tuple[Tensor, Labels]:
    if not dropped:
        return x, labels
    dims = [labels.index(m) for m in dropped]
    return x.sum(dims), [m for m in labels if m not in dropped]


def _aligned(x: Tensor, labels: Labels, to: Labels) -> Tensor:
    """A view of `x` with the dimensions `to`, of length 1 where it has none."""
    x = permute(x, [labels.index(m) for m in to if m in labels])
    for d, m in enumerate(to):
        if m not in labels:
            x = unsqueeze(x, d)
    return x


def _pair(a: Tensor, la: Labels, b: Tensor, lb: Labels, kept: set[Any], output: Labels) -> tuple[Tensor, Labels]:
    """Two operands into one whose labels are those in `kept`."""
    # a dimension of size 1 against a longer one: as if it were not there
    for m in [m for m in la if m in lb]:
        p, q = a.shape[la.index(m)], b.shape[lb.index(m)]
        if p != q and p == 1:
            d = la.index(m)
            a, la = reshape_value(a, (*a.shape[:d], *a.shape[d + 1:])), [x for x in la if x != m]
        elif p != q and q == 1:
            d = lb.index(m)
            b, lb = reshape_value(b, (*b.shape[:d], *b.shape[d + 1:])), [x for x in lb if x != m]
        elif p == q == 1 and m not in kept:  # a sum of one
            d, e = la.index(m), lb.index(m)
            a, la = reshape_value(a, (*a.shape[:d], *a.shape[d + 1:])), [x for x in la if x != m]
            b, lb = reshape_value(b, (*b.shape[:e], *b.shape[e + 1:])), [x for x in lb if x != m]
    a, la = _sum_over(a, la, [m for m in la if m not in lb and m not in kept])
    b, lb = _sum_over(b, lb, [m for m in lb if m not in la and m not in kept])
    batch = [m for m in la if m in lb and m in kept]
    inner = [m for m in la if m in lb and m not in kept]
    rows = [m for m in la if m not in lb]
    columns = [m for m in lb if m not in la]
    size = {m: s for labels, x in ((la, a), (lb, b)) for m, s in zip(labels, x.shape, strict=False)}
    out = [*batch, *rows, *columns]
    if not inner:  # no sum: a broadcast product
        out = [*[m for m in output if m in out], *[m for m in out if m not in output]]
        return _aligned(a, la, out) * _aligned(b, lb, out), out
    a, b = autocast_operands(LOWERED, a, b)
    check_batch(a, b)
    x = permute_value(a, tuple([la.index(m) for m in (*batch, *rows, *inner)]))
    y = permute_value(b, tuple([lb.index(m) for m in (*batch, *inner, *columns)]))
    shape = tuple([size[m] for m in out])
    nb, nr, ni, nc = (size_of(tuple([size[m] for m in part])) for part in (batch, rows, inner, columns))
    lead = (nb,) if batch else ()
    result = product(reshape_value(x, (*lead, nr, ni)), reshape_value(y, (*lead, ni, nc)))
    return reshape_value(result, shape, VIEW_RULE), out


@op(method=False)
def einsum(*args: Any) -> Tensor:
    """Sums of products, as `einsum("ij,jk->ik", a, b)` or `einsum(a, [0, 1], b, [1, 2], [0, 2])`."""
    if len(args) < 2:
        raise ValueError("einsum(): must specify the equation string and at least one operand, or at least one "
                         "operand and its subscripts list")
    if isinstance(args[0], Tensor):
        operands, inputs, output = _sublists(args)
    else:
        operands = list(args[1:])
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = list(operands[0])
        inputs, output = _parse(args[0], operands)
    labels = [_expand(given, len(x.shape), i) for i, (given, x) in enumerate(zip(inputs, operands, strict=False))]
    hidden = max((sum(type(m) is tuple for m in found) for found in labels), default=0)
    dots = [("...", hidden - 1 - k) for k in range(hidden)]
    if output is None:
        every = [m for found in labels for m in found if type(m) is str]
        output = [*dots, *sorted(m for m in set(every) if every.count(m) == 1)]
    else:
        output = [m for given in output for m in (dots if given == "..." else [given])]
    sizes: dict[Any, int] = {}
    for i, (found, x) in enumerate(zip(labels, operands, strict=False)):
        for m, s in zip(found, x.shape, strict=False):
            old = sizes.get(m, 1)
            if old != s and old != 1 and s != 1:
                name = m if type(m) is str else "..."
                raise RuntimeError(f"einsum(): subscript {name} has size {s} for operand {i} which does not broadcast "
                                   f"with previously seen size {old}")
            sizes[m] = max(old, s) if s else 0
    for m in output:
        if output.count(m) > 1:
            raise RuntimeError(f"einsum(): output subscript {m} appears more than once in the output")
        if m not in sizes:
            raise RuntimeError(f"einsum(): output subscript {m} does not appear in the equation for any input operand")
    a, la = _diagonals(operands[0], labels[0])
    for i in range(1, len(operands)):
        b, lb = _diagonals(operands[i], labels[i])
        kept = {*output, *[m for later in labels[i + 1:] for m in later]}
        a, la = _pair(a, la, b, lb, kept, output)
    a, la = _sum_over(a, la, [m for m in la if m not in output])
    order = tuple([la.index(m) for m in output if m in la])
    return a if order == tuple(range(len(order))) else permute(a, order)


