"""A plan run without machine code: each step by what it means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from facula.dtypes import dtype, int64
from facula.engine.compiler.kernel import Step
from facula.engine.compiler.plan import HostStep, PlanSpec
from facula.engine.compiler.program.ordered import Alike, Nothing, Product, Scan, Scatter
from facula.engine.compiler.program.statements import LoopProgram
from facula.engine.evaluator import ordered
from facula.engine.evaluator.loops import evaluate
from facula.engine.graph.node import BUFFER, Node, Primitive, size_of
from facula.engine.runtime import interpreter
from facula.engine.runtime.buffer import Buffer

Array = np.ndarray[Any, Any]


class EvaluatedPlan:
    """A Program of the computer's own memory (targets/protocol.py), in place of the processor's."""

    timed = False
    weight = 4096

    def __init__(self, spec: PlanSpec) -> None:
        self.spec = spec
        self.aliases = spec.aliases

    def run(self, leaves: Sequence[Buffer], numbers: Sequence[Any], outputs: Sequence[Buffer]) -> None:
        run(self.spec, [*map(np.asarray, leaves)], numbers, [*map(np.asarray, outputs)])

    def start(self, leaves: Sequence[Buffer], numbers: Sequence[Any], outputs: Sequence[Buffer]) -> Callable[[], None]:
        """`run`, to be called: for tests, which do not interrupt it."""
        return partial(self.run, leaves, numbers, outputs)

    def recipe(self, reads: Sequence[int], results: Sequence[int], picks: Sequence[int]) -> None:
        """There is no quicker way than `run`."""


def run(spec: PlanSpec, leaves: Sequence[Array], numbers: Sequence[Any], outputs: Sequence[Array]) -> None:
    """Compute `outputs` from `leaves`: the memory of each, as a flat array of bytes. For an output that the spec has in
    a donated leaf's memory (`aliases`) the caller gives that leaf's array."""
    memory = [*leaves, *outputs, *(np.zeros(n, np.uint8) for n in spec.temporaries)]
    calls: dict[int, Any] = {}
    for step in spec.steps:
        if isinstance(step, HostStep):
            run_host(step, memory, numbers, calls)
        else:
            run_step(step, memory, numbers)


def run_step(step: Step, memory: Sequence[Array], numbers: Sequence[Any]) -> None:
    program = step.program

    def views(*types: dtype) -> list[Array]:
        return [_view(memory[slot], d) for slot, d in zip(step.slots, types, strict=True)]

    with np.errstate(all="ignore"):
        match program:
            case LoopProgram():
                evaluate(program, views(*[b.dtype for b in program.buffers]), numbers)
            case Scan():
                ordered.scan(program, views(program.source, program.dtype))
            case Scatter():
                ordered.scatter(program, views(program.dtype, int64, program.dtype))
            case Product():
                ordered.product(program, views(*[program.dtype] * 3), numbers)
            case Alike():
                arrays = views(*[d for _, d in program.inputs], program.dtype)
                node = _node(program.op, program.attrs, None, program.inputs, program.shape, program.dtype)
                shaped = [a[:size_of(s)].reshape(s) for a, (s, _) in zip(arrays, program.inputs, strict=False)]
                arrays[-1][:size_of(program.shape)] = interpreter.compute(node, shaped).reshape(-1)
            case Nothing():
                pass
            case _:
                raise NotImplementedError(f"kernel {step.kernel.name} says nothing about what it means")


def run_host(step: HostStep, memory: Sequence[Array], numbers: Sequence[Any], calls: dict[int, Any]) -> None:
    scalars = tuple(numbers[step.number_at:step.number_at + step.numbers]) if step.numbers else None
    node = _node(step.op, step.attrs, scalars, [(i.shape, i.dtype) for i in step.inputs], step.shape, step.dtype)
    arrays = [calls[i.call] if i.call >= 0 else _view(memory[i.slot], i.dtype)[:size_of(i.shape)].reshape(i.shape)
              for i in step.inputs]
    result = interpreter.compute(node, arrays)
    if step.call >= 0:
        calls[step.call] = result
    else:
        _view(memory[step.slot], step.dtype)[:size_of(step.shape)] = np.asarray(result).reshape(-1)


def _node(op: Primitive, attrs: Any, scalars: Any, inputs: Sequence[tuple[tuple[int, ...], dtype]],
          shape: tuple[int, ...], of: dtype) -> Node:
    given = tuple([Node(BUFFER, (), None, None, s, d) for s, d in inputs])
    return Node(op, given, attrs, scalars, shape, of)


def _view(memory: Array, d: dtype) -> Array:
    of = np.dtype(d.numpy)
    return memory[:len(memory) // of.itemsize * of.itemsize].view(of)
