"""Builds nodes by hand, compiles them and runs the plan on NumPy arrays: for the tests of the compiler.

`evaluate` is an independent oracle: every primitive in NumPy, in float64 where the type is a float.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

from facula import dtypes as dt
from facula.engine.compiler.kernel import SCRATCH_BYTES, Machine
from facula.engine.compiler.pipeline import HostStep, PlanSpec, compile_plan
from facula.engine.evaluator import plan as evaluator
from facula.engine.graph import node as g
from facula.engine.graph.expr import make, operand
from facula.engine.graph.node import Formula, Node
from facula.engine.graph.primitives import KINDS
from facula.engine.runtime.cpu import jit, target
from facula.engine.targets.processors import machine

Array = np.ndarray[Any, Any]
_formulas: dict[object, Formula] = {}
vector_bytes = 64  # tests set it to 32 and 16 too
target_machine: Machine | None = None  # and this one to machines that nobody has
by_evaluator = False  # tests set it: plans run as what their steps mean, not as machine code


def leaf(array: Array, dtype: dt.dtype | None = None) -> Node:
    d = dtype or dt.from_numpy_dtype(array.dtype)
    node = Node(g.BUFFER, (), None, None, array.shape, d)
    node.buffer = np.ascontiguousarray(array).reshape(array.shape)  # type: ignore[assignment]
    return node


def apply(expr: Any, *inputs: Node, dtype: dt.dtype | None = None, scalars: tuple[Any, ...] = ()) -> Node:
    formula = _formulas.setdefault(expr, Formula(getattr(expr, "fn", "f"), expr))
    shape = np.broadcast_shapes(*(i.shape for i in inputs)) if inputs else ()
    return Node(formula, inputs, None, scalars or None, shape, dtype or inputs[0].dtype)


def fn(name: str, *inputs: Node, dtype: dt.dtype | None = None) -> Node:
    return apply(make(name, *(operand(k) for k in range(len(inputs)))), *inputs, dtype=dtype)


def view(base: Node, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> Node:
    return Node(g.VIEW, (base,), (strides,), (offset,), shape, base.dtype)


def permute(base: Node, order: tuple[int, ...]) -> Node:
    strides = g.contiguous_strides(base.shape)
    return view(base, tuple(base.shape[k] for k in order), tuple(strides[k] for k in order))


def reshape(base: Node, shape: tuple[int, ...]) -> Node:
    return view(base, shape, g.contiguous_strides(shape))


def expand(base: Node, shape: tuple[int, ...]) -> Node:
    own = g.contiguous_strides(base.shape)
    lead = len(shape) - len(base.shape)
    return view(
        base, shape, (0,) * lead + tuple(0 if n == 1 else s for n, s in zip(base.shape, own, strict=True))
    )


def sliced(base: Node, index: Any) -> Node:
    """Basic indexing, worked out by NumPy on an array of positions."""
    where = np.arange(max(1, g.size_of(base.shape)))[: g.size_of(base.shape)].reshape(base.shape)[index]
    strides = tuple(s // where.itemsize for s in where.strides)
    offset = int(where.reshape(-1)[0]) if where.size else 0
    return view(base, where.shape, strides, offset)


def reduce(op: g.Primitive, x: Node, dims: tuple[int, ...], dtype: dt.dtype | None = None) -> Node:
    shape = tuple(n for d, n in enumerate(x.shape) if d not in dims)
    if dtype is None:
        dtype = dt.int64 if op in (g.ARGMAX, g.ARGMIN) else dt.bool_ if op in (g.ANY, g.ALL) else x.dtype
        if op in (g.SUM, g.PROD) and x.dtype.category < dt.FLOAT:
            dtype = dt.int64
    return Node(op, (x,), (dims,), None, shape, dtype)


def const(value: Any, shape: tuple[int, ...], dtype: dt.dtype = dt.float32) -> Node:
    return Node(g.CONST, (), None, (value,), shape, dtype)


def index(shape: tuple[int, ...], dim: int) -> Node:
    return Node(g.INDEX, (), (dim,), None, shape, dt.int64)


def graph_of(outputs: list[Node]) -> tuple[list[Node], list[Node], dict[Node, int], list[Any]]:
    """(pending nodes in order, leaves, numbers_at, numbers)"""
    order: list[Node] = []
    leaves: list[Node] = []
    seen: set[Node] = set()
    stack: list[tuple[Node, bool]] = [(o, False) for o in reversed(outputs)]
    while stack:
        node, ready = stack.pop()
        if ready:
            (leaves if node.buffer is not None else order).append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((i, False) for i in reversed(node.inputs))
    numbers: list[Any] = []
    numbers_at: dict[Node, int] = {}
    for node in order:
        if node.scalars:
            numbers_at[node] = len(numbers)
            numbers += node.scalars
    return order, leaves, numbers_at, numbers


def memory(x: Array, d: dt.dtype) -> Array:
    """The array in a dtype's own memory format (bfloat16 as uint16)."""
    if d is dt.bfloat16 and x.dtype != np.uint16:
        return bfloat16_bits(x.astype(np.float32))
    return np.ascontiguousarray(x.astype(d.numpy))


def bfloat16_bits(x: Array) -> Array:
    bits = x.view(np.uint32).astype(np.uint64)
    return np.where(np.isnan(x), 0x7FC0, (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_memory(x: Array, d: dt.dtype) -> Array:
    return (x.astype(np.uint32) << 16).view(np.float32) if d is dt.bfloat16 else x


def plan(
    outputs: list[Node], donated: frozenset[Node] = frozenset()
) -> tuple[PlanSpec, list[Node], list[Any]]:
    order, leaves, numbers_at, numbers = graph_of(outputs)
    given = target_machine or machine(target.narrowed(target.host(), vector_bytes))
    return compile_plan(order, leaves, outputs, numbers_at, donated, given), leaves, numbers


def run(outputs: list[Node], donated: frozenset[Node] = frozenset(), tile_order: int = 1) -> list[Array]:
    spec, leaves, numbers = plan(outputs, donated)
    arrays = [np.asarray(leaf.buffer) for leaf in leaves]
    if donated:
        arrays = [a.copy() for a in arrays]
    for k, o in enumerate(outputs):
        arrays.append(arrays[spec.aliases[k]] if k in spec.aliases else np.zeros(o.shape, o.dtype.numpy))
    arrays += [np.zeros(n, np.uint8) for n in spec.temporaries]
    if by_evaluator:
        flat = [a.reshape(-1).view(np.uint8) for a in arrays[:len(arrays) - len(spec.temporaries)]]
        evaluator.run(spec, flat[:len(leaves)], numbers, flat[len(leaves):])
        return [a.reshape(o.shape) for a, o in zip(arrays[len(leaves) :], outputs, strict=False)]
    table = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
    nums = np.zeros(len(numbers) + 1, np.float64)
    for k, v in enumerate(numbers):
        if k < len(spec.formats) and spec.formats[k] == "q":
            nums.view(np.int64)[k] = int(v)
        elif k < len(spec.formats) and spec.formats[k] == "d":
            nums[k] = v
    scratch = np.zeros(SCRATCH_BYTES + 64, np.uint8)
    at = (scratch.ctypes.data + 63) & -64
    calls: dict[int, Any] = {}
    for step in spec.steps:
        if isinstance(step, HostStep):
            _host(step, arrays, calls, numbers)
            continue
        address = jit.get(step.kernel)
        kernel = ctypes.CFUNCTYPE(
            None,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_void_p,
        )(address)
        args = np.array(step.args, np.int64)
        for tile in range(step.tiles)[::tile_order]:
            kernel(args.ctypes.data, table, nums.ctypes.data, tile, tile + 1, at)
    return [a.reshape(o.shape) for a, o in zip(arrays[len(leaves) :], outputs, strict=False)]


def _host(step: HostStep, arrays: list[Array], calls: dict[int, Any], numbers: list[Any]) -> None:
    inputs = []
    for i in step.inputs:
        raw = arrays[i.slot].reshape(-1).view(np.uint8)[: g.size_of(i.shape) * i.dtype.itemsize]
        raw = raw.view(i.dtype.numpy).reshape(i.shape)
        inputs.append(from_memory(raw, i.dtype))
    node = Node(
        step.op,
        (),
        step.attrs,
        tuple(numbers[step.number_at : step.number_at + step.numbers]),
        step.shape,
        step.dtype,
    )
    result = memory(compute(node, inputs, tuple(i.dtype for i in step.inputs)), step.dtype)
    arrays[step.slot].reshape(-1).view(np.uint8)[: result.nbytes] = result.reshape(-1).view(np.uint8)


def evaluate(outputs: list[Node]) -> list[Array]:
    order, leaves, _, _ = graph_of(outputs)
    values: dict[Node, Array] = {leaf: from_memory(np.asarray(leaf.buffer), leaf.dtype) for leaf in leaves}
    for node in order:
        result = compute(node, [values[i] for i in node.inputs], tuple(i.dtype for i in node.inputs))
        values[node] = from_memory(memory(result, node.dtype), node.dtype).reshape(node.shape)
    return [values[o] for o in outputs]


def compute(node: Node, inputs: list[Array], types: tuple[dt.dtype, ...]) -> Array:
    op = node.op
    with np.errstate(all="ignore"):
        if isinstance(op, Formula):
            done: dict[Any, Any] = {}
            for e in op.order:
                done[e] = _scalar(e, [done[a] for a in e.args], inputs, node)
            return np.broadcast_to(np.asarray(done[op.expr]), node.shape)
        if op is g.CONST:
            return np.full(node.shape, node.scalars[0])  # type: ignore[index]
        if op is g.INDEX:
            return np.broadcast_to(np.indices(node.shape)[node.attrs[0]], node.shape)  # type: ignore[index]
        if op is g.VIEW:
            return _region(inputs[0], node).copy()
        if op.kind == "reduce":
            return _reduce(op, inputs[0], node)
        if op is g.GATHER:
            return inputs[0][inputs[1]]
        if op is g.WRITE:
            out = np.array(inputs[0])
            _region(out, node, inputs[1].shape)[...] = inputs[1]
            return out
        if op.kind == "scatter":
            out = np.array(inputs[0])
            ufunc = {
                "scatter_add": np.add,
                "scatter_mul": np.multiply,
                "scatter_max": np.maximum,
                "scatter_min": np.minimum,
            }.get(op.name)
            rows = inputs[2].reshape(inputs[1].size, out.shape[1])
            for k, i in enumerate(inputs[1].reshape(-1)):
                out[i] = rows[k] if ufunc is None else ufunc(out[i], rows[k])
            return out
        if op.kind == "scan":
            f = {"cumsum": np.add, "cumprod": np.multiply, "cummax": np.maximum, "cummin": np.minimum}[
                op.name
            ]
            x = inputs[0]
            wide = x.astype(node.dtype.compute.numpy) if op.name in ("cumsum", "cumprod") else x
            return f.accumulate(wide, axis=node.attrs[0])  # type: ignore[index,no-any-return]
        if op is g.CONTRACT:
            return np.matmul(inputs[0], inputs[1])
        if op is g.ARGSORT:
            dim, descending, _, *way = node.attrs  # type: ignore[misc]
            if way:  # equals in another order: the same text in Python (test_unstable_sorts.py has what it says)
                return np.asarray(KINDS[op.kind].meaning(node, inputs))
            key = -inputs[0] if descending else inputs[0]
            return np.argsort(key, axis=dim, kind="stable")  # type: ignore[arg-type]
    raise NotImplementedError(op.name)


def _region(base: Array, node: Node, shape: tuple[int, ...] | None = None) -> Array:
    flat = base.reshape(-1)
    offset = int(g.offset_of(node))
    strides: tuple[int, ...] = node.attrs[0]  # type: ignore[index,assignment]
    return np.lib.stride_tricks.as_strided(
        flat[offset:], node.shape if shape is None else shape, [s * flat.itemsize for s in strides]
    )


def _reduce(op: g.Primitive, x: Array, node: Node) -> Array:
    dims: tuple[int, ...] = node.attrs[0]  # type: ignore[index,assignment]
    if op in (g.ARGMAX, g.ARGMIN):
        rest = [d for d in range(x.ndim) if d not in dims]
        moved = np.transpose(x, (*rest, *dims)).reshape(*node.shape, g.size_of(tuple(x.shape[d] for d in dims)))
        return (np.argmax if op is g.ARGMAX else np.argmin)(moved, axis=-1)  # type: ignore[return-value]
    if op is g.SUM or op is g.PROD:
        f = np.sum if op is g.SUM else np.prod
        wide = np.float64 if node.dtype.category == dt.FLOAT else node.dtype.numpy
        return np.asarray(f(x, axis=dims, dtype=wide))
    f = {"max": np.max, "min": np.min, "any": np.any, "all": np.all}[op.name]  # type: ignore[assignment]
    return np.asarray(f(x, axis=dims))


_erf = np.vectorize(math.erf, otypes=[np.float64])
_UFUNCS: dict[str, Any] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "neg": np.negative,
    "abs": np.abs,
    "floordiv": np.floor_divide,
    "remainder": np.remainder,
    "fmod": np.fmod,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "round": np.rint,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "pow": np.power,
    "exp": np.exp,
    "log": np.log,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "where": np.where,
    "isnan": np.isnan,
    "isinf": np.isinf,
    "signbit": np.signbit,
    "copysign": np.copysign,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "not": np.bitwise_not,
    "lshift": np.left_shift,
    "rshift": np.right_shift,
    "erf": _erf,
    "hypot": np.hypot,
    "atan2": np.arctan2,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log1p": np.log1p,
    "log2": np.log2,
    "log10": np.log10,
    "sign": np.sign,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
}


def _scalar(e: Any, args: list[Any], inputs: list[Array], node: Node) -> Any:
    if e.fn == "in":
        x = inputs[e.value]
        return x.astype(np.float32) if x.dtype == np.float16 else x
    if e.fn == "lit":
        return e.value
    if e.fn == "scalar":
        value = node.scalars[e.value]  # type: ignore[index]
        return np.float32(value) if node.dtype.compute is dt.float32 else value
    if e.fn == "index":
        return np.indices(node.shape)[e.value]
    if e.fn == "cast":
        return from_memory(memory(np.asarray(args[0]), e.value), e.value)
    return _UFUNCS[e.fn](*args)
