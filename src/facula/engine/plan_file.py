"""A plan as one file: what the compiler was given, as JSON, for it to be compiled and run elsewhere.

    {"format": "facula-plan", "version": 1,
     "leaves":  [{"shape", "dtype"}],
     "nodes":   [{"op", "inputs", "attrs", "scalars", "shape", "dtype", "expr"}],    arguments before users
     "outputs": [number], "donated": [number]}

Values are numbered: leaves, then nodes. A formula has `op` null and `expr`: [function, [arguments], value], arguments
first.
Nothing in the file is executed or looked up by name but primitives, scalar functions, dtypes and host routines that
exist; whatever does not fit is a PlanFileError.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facula import dtypes
from facula.dtypes import dtype
from facula.engine import plan_budget
from facula.engine.compiler.verify_node import verify_node
from facula.engine.graph import primitives
from facula.engine.graph.expr import LEAVES, SCALAR_FUNCTIONS, Expr, make
from facula.engine.graph.node import BUFFER, CALL, CONST, PICK, Formula, Node, offset_of, size_of
from facula.engine.runtime.routines import ROUTINES
from facula.errors import PlanFileError, VerifyError

MOST_BYTES, MOST_NODES, MOST_TERMS, MOST_DIMS, MOST_ELEMENTS = 64 << 20, 100_000, 10_000, 64, 1 << 31
MOST_DEPTH = 150  # of a formula: who reads it goes down from term to term
_NO_VALUES = ("buffer", "meta", "traced")
PRIMITIVES = {name: p for name, p in primitives.PRIMITIVES.items() if p.kind not in _NO_VALUES}
DTYPES = {d.name: d for d in vars(dtypes).values() if isinstance(d, dtype)}


@dataclass
class PlanFile:
    """What `compile_plan` takes."""

    nodes: list[Node]
    leaves: list[Node]
    outputs: list[Node]
    donated: list[Node]
    constants: list[Node] = field(default_factory=list)
    numbers_at: dict[Node, int] = field(default_factory=dict)
    numbers: list[Any] = field(default_factory=list)


def dump(nodes: list[Node], leaves: list[Node], outputs: list[Node], donated: Any = ()) -> str:
    """The text of the file."""
    given = set(nodes) | set(leaves)
    constants = list(dict.fromkeys(s for n in nodes for s in n.inputs if s not in given))
    places = {node: k for k, node in enumerate((*leaves, *constants, *nodes))}
    return json.dumps({
        "format": "facula-plan", "version": 1,
        "leaves": [{"shape": list(n.shape), "dtype": n.dtype.name} for n in leaves],
        "nodes": [_node_out(n, places) for n in (*constants, *nodes)],
        "outputs": [places[n] for n in outputs], "donated": [places[n] for n in leaves if n in donated]}, indent=0)


def _node_out(node: Node, places: dict[Node, int]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "op": None if isinstance(node.op, Formula) else node.op.name, "inputs": [places[i] for i in node.inputs],
        "attrs": _out(node.attrs), "scalars": _out(node.scalars), "shape": list(node.shape), "dtype": node.dtype.name}
    if isinstance(node.op, Formula):
        at = {e: k for k, e in enumerate(node.op.order)}
        found["name"] = node.op.name
        found["expr"] = [[e.fn, [at[a] for a in e.args], _out(e.value)] for e in node.op.order]
    return found


def _out(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_out(v) for v in value]
    if isinstance(value, dtype):
        return {"dtype": value.name}
    if isinstance(value, float):
        return {"float": value.hex()}  # every bit, inf and nan too
    if isinstance(value, complex):
        return {"complex": [value.real.hex(), value.imag.hex()]}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise PlanFileError(f"{value!r} cannot stand in a plan file")


def load(path: Path) -> PlanFile:
    """Read and check a file."""
    if path.stat().st_size > MOST_BYTES:
        raise PlanFileError(f"{path}: more than {MOST_BYTES} bytes")
    return parse(path.read_text(encoding="utf-8", errors="replace"))


def parse(text: str) -> PlanFile:
    try:
        data = json.loads(text)
        _want(isinstance(data, dict) and data.get("format") == "facula-plan", "not a plan file")
        _want(data.get("version") == 1, f"version {data.get('version')!r} of plan files is not known")
        return _plan(data)
    except (PlanFileError, VerifyError) as error:
        raise PlanFileError(str(error)) from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        raise PlanFileError(f"not a sound plan file: {type(error).__name__}: {error}") from None


def _want(condition: object, message: str) -> None:
    if not condition:
        raise PlanFileError(message)


def _plan(data: dict[str, Any]) -> PlanFile:
    values: list[Node] = []
    _want(len(data["leaves"]) + len(data["nodes"]) <= MOST_NODES, f"more than {MOST_NODES} nodes")
    for entry in data["leaves"]:
        values.append(Node(BUFFER, (), None, None, _shape(entry["shape"]), _dtype(entry["dtype"])))
    leaves = values[:]
    for entry in data["nodes"]:
        node = _node(entry, values)
        verify_node(node)
        _whole(node)
        values.append(node)
    made = values[len(leaves):]
    outputs = [made[_index(k - len(leaves), len(made))] for k in data["outputs"]]
    file = PlanFile([n for n in made if n.op is not CONST], leaves, outputs,
                    [leaves[_index(k, len(leaves))] for k in data["donated"]], [n for n in made if n.op is CONST])
    _want(outputs and len(set(outputs)) == len(outputs), "no outputs, or one twice")
    _want(not set(outputs) & set(file.constants), "a constant as output")
    _want(not any(o.op is CALL for o in outputs), "the results of a routine as one output")
    plan_budget.check(leaves, made)
    for node in made:
        if node.scalars:
            file.numbers_at[node] = len(file.numbers)
            file.numbers += node.scalars
    return file


def _index(k: Any, size: int) -> int:
    _want(type(k) is int and 0 <= k < size, f"{k!r} is not the number of an earlier value")
    return int(k)


def _shape(given: Any) -> tuple[int, ...]:
    _want(isinstance(given, list) and len(given) <= MOST_DIMS and all(type(n) is int and n >= 0 for n in given),
          f"{given!r} is not a shape")
    full = tuple(n or 1 for n in given)  # strides of an empty shape are as large as those of a full one
    _want(size_of(full) <= MOST_ELEMENTS, f"a shape of more than {MOST_ELEMENTS} elements: {given}")
    return tuple(given)


def _dtype(name: Any) -> dtype:
    _want(isinstance(name, str) and name in DTYPES, f"no dtype {name!r}")
    return DTYPES[name]


def _node(entry: dict[str, Any], values: list[Node]) -> Node:
    inputs = tuple(values[_index(k, len(values))] for k in entry["inputs"])
    attrs, scalars = _in(entry["attrs"]), _in(entry["scalars"])
    _want(attrs is None or isinstance(attrs, tuple), f"attrs {attrs!r}")
    _want(scalars is None or isinstance(scalars, tuple) and all(isinstance(x, (int, float, complex)) for x in scalars),
          f"scalars {scalars!r}")
    op = _formula(entry) if entry["op"] is None else PRIMITIVES.get(entry["op"])
    if op is None:
        raise PlanFileError(f"no primitive {entry['op']!r}")
    if op is CALL:
        _want(attrs and attrs[0] in ROUTINES, f"no host routine {attrs and attrs[0]!r}")
    elif not isinstance(op, Formula):
        wanted = 1 if op is PICK else primitives.KINDS[op.kind].inputs
        _want(len(inputs) == wanted, f"{op.name} takes {wanted} inputs, not {len(inputs)}")
    _want(all((i.op is CALL) == (op is PICK) for i in inputs), f"{op.name} of {inputs}: CALLs are for PICKs")
    node = Node(op, inputs, attrs, scalars, _shape(entry["shape"]), _dtype(entry["dtype"]))
    _numbers(node)
    return node


def _numbers(node: Node) -> None:
    """Numbers have a type that machine code takes, and as many are given as are wanted."""
    numbers = node.scalars or ()
    if isinstance(node.op, Formula):
        wanted: int | None = node.op.scalars
        _want(all(e.fn != "index" or e.value < len(node.shape) for e in node.op.order),  # type: ignore[operator]
              f"{node!r}: a coordinate of a dimension that it has not")
    else:
        kind = primitives.KINDS.get(node.op.kind)
        wanted = kind.numbers(node) if kind else None if node.op is CALL else 0
    _want(wanted is None or len(numbers) == wanted, f"{node!r}: {wanted} numbers wanted, {len(numbers)} given")
    for x in numbers:
        _want(not isinstance(x, complex) or node.dtype.is_complex, f"{node!r}: the number {x}")
        _want(isinstance(x, (float, complex)) or -1 << 63 <= x < 1 << 64, f"{node!r}: the number {x}")


def _formula(entry: dict[str, Any]) -> Formula:
    terms: list[Expr] = []
    depths: list[int] = []
    _want(0 < len(entry["expr"]) <= MOST_TERMS, "an empty formula, or one of too many terms")
    for fn, arguments, value in entry["expr"]:
        _want(fn in LEAVES or fn in SCALAR_FUNCTIONS, f"no scalar function {fn!r}")
        found = _in(value)
        if fn in ("in", "scalar", "index"):
            _want(type(found) is int and 0 <= found < 4096, f"{fn} number {found!r}")
        _want(fn != "cast" or isinstance(found, dtype), f"a cast to {found!r}")
        _want(fn != "lit" or isinstance(found, (int, float, complex)), f"the number {found!r}")
        _want(type(found) is not int or -1 << 63 <= found < 1 << 64, f"the number {found!r}")
        _want(fn in LEAVES or fn == "cast" or found is None, f"{fn} with {found!r}")
        above = [_index(a, len(terms)) for a in arguments]
        depths.append(1 + max((depths[a] for a in above), default=0))
        _want(depths[-1] <= MOST_DEPTH, f"a formula of more than {MOST_DEPTH} terms in each other")
        terms.append(make(fn, *(terms[a] for a in above), value=found))
    return Formula(str(entry["name"]), terms[-1])


def _in(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_in(v) for v in value)
    if isinstance(value, dict):
        [(kind, inner)] = value.items()
        if kind == "dtype":
            return _dtype(inner)
        _want(kind in ("float", "complex"), f"no kind of value {kind!r}")
        return float.fromhex(inner) if kind == "float" else complex(*map(float.fromhex, inner))
    _want(value is None or isinstance(value, (bool, int, str)), f"{value!r}")
    return value


def _whole(node: Node) -> None:
    """The strides and the offset of a region are whole numbers; verify_node has seen where it lies."""
    if node.op.kind in ("view", "write"):
        numbers: Any = (*node.attrs[0], offset_of(node))  # type: ignore[index,misc]
        _want(all(type(n) is int and abs(n) < 1 << 40 for n in numbers), f"{node!r}: strides and offset {numbers!r}")
