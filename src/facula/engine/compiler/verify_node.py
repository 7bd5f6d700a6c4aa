"""What each primitive promises about shape and dtype (engine/graph/node.py says it in words), checked of one node."""

from __future__ import annotations

from facula.dtypes import bool_, int64
from facula.engine.graph import node as g
from facula.engine.graph.node import Formula, Node, inside, offset_of, size_of
from facula.engine.graph.typing import natural_types
from facula.errors import VerifyError


def around(node: Node, depth: int = 3) -> str:
    """The part of the graph above `node`, a line a node, for an error's message."""
    lines: list[str] = []

    def walk(n: Node, level: int) -> None:
        what = f" = {n.op.expr!r}"[:200] if isinstance(n.op, Formula) else ""
        attrs = f" {n.attrs!r}"[:200] if n.attrs is not None else ""
        lines.append("  " * (level + 1) + f"{n!r}{attrs}{what}")
        if level < depth and len(lines) < 40:
            for source in n.inputs:
                walk(source, level + 1)

    walk(node, 0)
    return "\n" + "\n".join(lines)


def verify_node(node: Node) -> None:
    if any(n < 0 for n in node.shape):
        _refuse(node, "a negative size")
    if isinstance(node.op, Formula):
        _formula(node, node.op)
        return
    check = _CHECKS.get(node.op.kind)
    if check is not None:
        check(node)


def _refuse(node: Node, what: str) -> None:
    raise VerifyError(f"{node!r}: {what}{around(node)}")


def _formula(node: Node, op: Formula) -> None:
    if len(node.inputs) < op.operands:
        _refuse(node, f"{op.operands} operands wanted, {len(node.inputs)} given")
    if len(node.scalars or ()) < op.scalars:
        _refuse(node, f"{op.scalars} numbers wanted, {len(node.scalars or ())} given")
    for source in node.inputs:
        lead = len(node.shape) - len(source.shape)
        if lead < 0 or any(n not in (1, m) for n, m in zip(source.shape, node.shape[lead:], strict=True)):
            _refuse(node, f"{source!r} does not broadcast to it")
    try:
        natural_types(op, tuple(i.dtype for i in node.inputs), node.dtype)
    except KeyError as pair:
        _refuse(node, f"no common type of {pair}")


def _view(node: Node) -> None:
    base = node.inputs[0]
    _region(node, node.shape, size_of(base.shape))
    if node.dtype is not base.dtype:
        _refuse(node, f"a view of {base.dtype.name}")


def _region(node: Node, shape: tuple[int, ...], size: int) -> None:
    strides: tuple[int, ...] = node.attrs[0]  # type: ignore[index,assignment]
    if len(strides) != len(shape):
        _refuse(node, f"strides {strides} for the shape {shape}")
    offset = offset_of(node)
    if not inside(shape, strides, offset, size):
        _refuse(node, f"a region of shape {shape}, strides {strides}, from {offset}, in a base of {size} elements")


def _write(node: Node) -> None:
    base, value = node.inputs
    _like(node, base)
    _region(node, value.shape, size_of(base.shape))
    if value.dtype is not node.dtype:
        _refuse(node, f"{value!r} is written into it")


def _like(node: Node, source: Node) -> None:
    if node.shape != source.shape or node.dtype is not source.dtype:
        _refuse(node, f"differs from {source!r} in shape or dtype")


def _reduce(node: Node) -> None:
    source = node.inputs[0]
    dims: tuple[int, ...] = node.attrs[0]  # type: ignore[index,assignment]
    if list(dims) != sorted(set(dims)) or any(not 0 <= d < len(source.shape) for d in dims):
        _refuse(node, f"dimensions {dims} of {source!r}")
    rest = tuple(n for d, n in enumerate(source.shape) if d not in dims)
    if node.shape != rest:
        _refuse(node, f"the shape should be {rest}")
    wanted = {g.ARGMAX: int64, g.ARGMIN: int64, g.ANY: bool_, g.ALL: bool_,
              g.MAX: source.dtype, g.MIN: source.dtype}.get(node.op, node.dtype)
    if node.dtype is not wanted:
        _refuse(node, f"the dtype should be {wanted.name}")


def _contract(node: Node) -> None:
    a, b = node.inputs[0].shape, node.inputs[1].shape
    if len(a) != len(b) or len(a) not in (2, 3) or a[-1] != b[-2] or a[:-2] != b[:-2] \
            or node.shape != (*a[:-1], b[-1]):
        _refuse(node, f"a product of {a} and {b}")


def _gather(node: Node) -> None:
    table, index = node.inputs
    if node.shape != (*index.shape, *table.shape[1:]) or index.dtype is not int64 or len(table.shape) != 2 \
            or node.dtype is not table.dtype:
        _refuse(node, f"rows of {table!r} at {index!r}")


def _index(node: Node) -> None:
    (dim,) = node.attrs or (-1,)
    if type(dim) is not int or not 0 <= dim < len(node.shape) or node.dtype is not int64:
        _refuse(node, f"coordinates along {dim}")


def _scatter(node: Node) -> None:
    base, index, source = node.inputs
    _like(node, base)
    if index.dtype is not int64 or len(base.shape) != 2 or source.shape != (*index.shape, base.shape[1]) \
            or source.dtype is not node.dtype:
        _refuse(node, f"{source!r} at {index!r}")


def _scan(node: Node) -> None:
    dim: int = node.attrs[0]  # type: ignore[index,assignment]
    if node.shape != node.inputs[0].shape or not 0 <= dim < len(node.shape):
        _refuse(node, f"a scan of {node.inputs[0]!r} along {dim}")


def _sort(node: Node) -> None:
    dim, _ = node.attrs or (-1, False)
    if node.shape != node.inputs[0].shape or node.dtype is not int64 or not 0 <= dim < max(len(node.shape), 1):  # type: ignore[operator]
        _refuse(node, f"the order of {node.inputs[0]!r}")


_CHECKS = {"view": _view, "write": _write, "reduce": _reduce, "contract": _contract, "gather": _gather,
           "scatter": _scatter, "index": _index, "scan": _scan, "sort": _sort}
