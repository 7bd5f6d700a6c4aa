"""One run of a program with tensors that are described only: what it calls becomes a graph.

Every operation that is called comes here (a mode of `ops/listening.py`), is written down as a call of `torch.ops.aten`
(`_calls.py`), and asked for the shape of its result in every case (`_cases.py`). Nothing is computed, and nothing of
the program's is written: parameters and buffers are stood in for as well.
"""

from __future__ import annotations

import builtins
from typing import Any

import facula
from facula._tensor.handle import Tensor, device_of, is_meta
from facula.export._calling import Calling
from facula.export._cases import Again, Plan
from facula.export._fitting import Formulas
from facula.export._functional import Values
from facula.export._traced import Missed, Traced, place_of, program_frame, program_line, settle, traced
from facula.export._writing import opposite
from facula.fx.node import Node
from facula.nn import Parameter
from facula.ops.aten_names import aten
from facula.size import Size
from facula.symbolic_expressions import Expression, Relation
from facula.symbolic_numbers import SymInt, _Symbolic


class Capture(Calling):
    """The graph of a program, as far as it has run. `plan` says which sizes are open.

    With a `parent` it is the graph of a function that the parent's program hands to control flow (`_control.py`): what
    the function has from around it becomes an input of its graph, and is in `outside`.
    """

    def __init__(self, plan: Plan, parent: Capture | None = None, functional: bool = False) -> None:
        super().__init__()
        if functional or parent is not None and parent.values is not None:
            self.values = Values(self)
        self.plan, self.parent = plan, parent
        self.root: Capture = self if parent is None else parent.root
        self.cases = plan.cases() if parent is None else parent.cases
        self.formulas: Formulas = Formulas(self.cases, plan.row) if parent is None else parent.formulas
        # What was asked about sizes, and where.
        self.guards: dict[Relation, str] = {} if parent is None else parent.guards
        self.steps = 0 if parent is None else parent.steps
        self.quiet = parent is not None and parent.quiet
        self.known: dict[int, Traced] = {}  # by the id of the tensor that it stands for
        self.constants: dict[str, Tensor] = {}
        self.paths: dict[int, str] = {}  # of tensors that are attributes of modules
        self.last_constant: Node | None = None
        self.active = True
        self.outside: list[Any] = []
        self.numbers: dict[int, Node] = {}  # that are inputs, of a function's graph
        self.subgraphs: dict[str, Any] = {}
        self.children: list[Capture] = []

    # -- what goes in ---------------------------------------------------------------------------
    def stand_in(self, t: Tensor, name: str, sizes: list[Any] | None = None) -> Traced:
        """A description of `t`, with a placeholder of that name. `sizes`: of dimensions that are open a formula."""
        node = self.placeholder(name)
        inner = []
        for case in self.cases:
            shape = [length if sizes is None or sizes[d] is None else sizes[d].at(case)
                     for d, length in enumerate(t.shape)]
            inner.append(self._described(t, shape))
        found = traced(self, tuple(inner), node, device_of(t))
        if sizes is not None:
            found.sizes = Size.__new__(Size) if not sizes else tuple.__new__(Size, [
                t.shape[d] if formula is None else self.size(found, d, formula)
                for d, formula in enumerate(sizes)])
        node.meta["val"] = found
        self._keep(found)
        return found

    def placeholder(self, name: str) -> Node:
        """An input of that very name, though Python has a function of it (`input`, `max`)."""
        node = self.graph.placeholder(name)
        if node.name != name and name in vars(builtins) and name not in ("getattr", "slice"):
            node.name = name
        return node

    def _described(self, t: Tensor, shape: list[int]) -> Tensor:
        with facula.no_grad():
            if list(t.shape) == shape:
                found: Tensor = facula.empty_strided(shape, t.stride(), dtype=t.dtype, device="meta")
            else:
                order = sorted(range(len(shape)), key=lambda d: -t.stride()[d]) if t.numel() else range(len(shape))
                found = facula.empty([shape[d] for d in order], dtype=t.dtype, device="meta").permute(
                    [list(order).index(d) for d in range(len(shape))])
        if t.requires_grad:
            found.requires_grad_(True)
        return found

    def size(self, of: Traced, d: int, formula: Expression) -> Any:
        """The open length of a dimension."""
        values = tuple([inner.shape[d] for inner in of.in_cases])
        if formula.constant is not None:
            return formula.constant
        return SymInt(self, values, formula, ("size", of, d))

    def constant(self, t: Tensor, name: str | None = None) -> Traced:
        """A tensor that the program has from elsewhere: an input of the graph that is kept with it."""
        if id(t) in self.known:
            return self.known[id(t)]
        if self.parent is not None:
            return self.from_around(self.parent.constant(t, name))
        if is_meta(t):
            raise Missed()
        if type(t) is not Tensor and not isinstance(t, Parameter):
            raise NotImplementedError(f"torch.export: tensors of the class {type(t).__name__} are not in Facula yet")
        path = name or self.paths.get(id(t)) or f"lifted_tensor_{len(self.constants)}"
        while path in self.constants:
            path += "_"
        where = self.graph.inserting_after(self.last_constant)
        with where:
            found = self.stand_in(t, "c_" + path.replace(".", "_"))
        self.last_constant = found.fx
        self.constants[path] = t
        self.known[id(t)] = found
        self.everything.append(t)
        return found

    # -- what a function has from around it -----------------------------------------------------
    def from_around(self, t: Traced) -> Traced:
        """What stands in a function's graph for a tensor of the program around it. RuntimeError if it is of another
        capture."""
        if t.capture is self:
            return t
        if id(t) in self.known:
            return self.known[id(t)]
        if self.parent is None:
            raise RuntimeError("torch.export: a tensor of another capture is used. Was it kept in an attribute, or "
                               "handed out of a function of torch.cond or torch.while_loop by other ways than its "
                               f"result?{program_line()}")
        outer = self.parent.from_around(t)
        self.everything.append(t)
        if id(outer) in self.known:
            self.known[id(t)] = self.known[id(outer)]
            return self.known[id(t)]
        node = self._input(outer.fx.name)
        found = traced(self, tuple([self._described(inner, list(inner.shape)) for inner in outer.in_cases]), node,
                       outer.place)
        node.meta["val"] = found
        self._keep(found)
        self.known[id(t)] = self.known[id(outer)] = found
        self.outside.append(outer)
        return found

    def _input(self, name: str) -> Node:
        with self.graph.inserting_after(self.last_constant):
            self.last_constant = self.placeholder(name)
        return self.last_constant

    def node_of(self, number: Any) -> Node:
        """The node that gives a symbolic number: made where it is first used."""
        if self.parent is None or self._is_own(number):
            return super().node_of(number)
        if id(number) not in self.numbers:
            node = self._input(self.parent.node_of(number).name)
            node.meta["val"] = number
            self.numbers[id(number)] = node
            self.everything.append(number)
            self.outside.append(number)
        return self.numbers[id(number)]

    def _is_own(self, number: Any) -> bool:
        """Is it computed from sizes of this function's tensors?"""
        first, *rest = number.recipe
        if first == "size":
            return rest[0].capture is self
        return any(self._is_own(part) for part in rest if isinstance(part, _Symbolic))

    # -- what Python asks -----------------------------------------------------------------------
    def shape_of(self, t: Traced) -> Any:
        """The shape of a described tensor."""
        if t.sizes is None:
            found: list[Any] = []
            for d in range(len(t.in_cases[0].shape)):
                values = tuple([inner.shape[d] for inner in t.in_cases])
                if len(set(values)) == 1:
                    found.append(values[0])
                    continue
                formula = self.formulas.of(values)
                if formula is None and self.formulas.wanted > self.plan.row and self.active:
                    raise Again(0, None, None, self.steps, "", need=self.formulas.wanted)
                found.append(SymInt(self, values, formula, ("size", t, d)))
            t.sizes = tuple.__new__(Size, found)
        return t.sizes

    def guard(self, asked: Any) -> bool:
        """The answer to a question about sizes, which has to be the same in every case."""
        answer = bool(asked.values[0])
        if not self.active:
            return answer
        relation = asked.formula if isinstance(asked.formula, Relation) else None
        holds = relation if relation is None or answer else relation.opposite()
        for case, value in enumerate(asked.values):
            if bool(value) is not answer:
                raise Again(case, holds, None, self.steps, program_line(), f"the answer to {asked!r}")
        if holds is not None:
            self.guards.setdefault(holds, place_of(program_frame()))
        else:
            node = self.node_of(asked if answer else opposite(asked))
            self.create(aten._assert_scalar.default, (
                node, f"Runtime assertion failed for expression {asked!r} on node '{node}'"), {})
        return answer

    def specialise(self, number: Any) -> Any:
        """The number itself: the program holds for this one value then."""
        value = number.values[0]
        for case, other in enumerate(number.values):
            if other != value and self.active:
                relation = Relation("eq", number.formula, Expression.number(value)) \
                    if isinstance(number.formula, Expression) and isinstance(value, int) else None
                raise Again(case, relation, None, self.steps, program_line(), f"the number {number!r}")
        return value

    def close(self) -> None:
        """Nothing more is captured: what is left describes the nodes."""
        self.active = False
        for t in self.everything:
            if isinstance(t, Traced) and t.capture is self:
                settle(t)
        for child in self.children:
            child.close()
        self.by_inner.clear()
