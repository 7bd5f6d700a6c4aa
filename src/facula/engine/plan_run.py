"""Compile and run a plan file, beside the interpreter: `facula explain FILE`."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from facula.dtypes import FLOAT, bfloat16
from facula.engine.compiler.pipeline import compile_plan
from facula.engine.graph.node import Node, size_of
from facula.engine.graph.primitives.scatter import rows_of
from facula.engine.plan_budget import check_degrees
from facula.engine.plan_file import PlanFile
from facula.engine.runtime import interpreter
from facula.engine.runtime.buffer import Buffer, adopt, allocate
from facula.engine.targets import host
from facula.errors import PlanFileError


def inputs_for(file: PlanFile) -> list[np.ndarray]:
    """Elements for the leaves, the same every time: floats from 0.5 to 1.5, zeros for the rest (indices must fit)."""
    random = np.random.default_rng(0)
    found = []
    for leaf in file.leaves:
        if leaf.dtype is bfloat16:
            array = (random.uniform(0.5, 1.5, leaf.shape).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        elif leaf.dtype.category >= FLOAT:
            array = random.uniform(0.5, 1.5, leaf.shape).astype(leaf.dtype.numpy)
        else:
            array = np.zeros(leaf.shape, leaf.dtype.numpy)
        found.append(np.ascontiguousarray(array).reshape(leaf.shape))
    return found


def interpreted(file: PlanFile, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The outputs by NumPy. An index out of range is an error here: a file has no check of its own. So is whatever
    NumPy refuses: the file says what cannot be computed."""
    values: dict[Node, Any] = dict(zip(file.leaves, inputs, strict=True))
    for node in (*file.constants, *file.nodes):
        if node.op.kind in ("gather", "scatter"):
            index = values[node.inputs[1]]
            rows = rows_of(node, node.inputs[2])[0] if node.op.kind == "scatter" else node.inputs[0].shape[0]
            if index.size and not 0 <= index.min() <= index.max() < rows:
                raise PlanFileError(f"{node!r}: an index out of range for {rows} rows")
        arrays = [values[i] for i in node.inputs]
        check_degrees(node, arrays)
        try:
            values[node] = interpreter.compute(node, arrays)
        except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError,
                np.linalg.LinAlgError) as error:
            raise PlanFileError(f"{node!r} cannot be computed: {type(error).__name__}: {error}") from None
    return [values[o] for o in file.outputs]


def run(file: PlanFile, vector_bytes: int | None = None) -> tuple[Any, list[np.ndarray], list[int], float]:
    """(spec, outputs, nanoseconds a step, seconds to compile) by machine code."""
    inputs = inputs_for(file)
    interpreted(file, inputs)  # checks indices
    start = time.perf_counter()
    spec = compile_plan(file.nodes, file.leaves, file.outputs, file.numbers_at, frozenset(file.donated),
                        host.machine(vector_bytes or 64))
    plan = host.loaded(spec)
    seconds = time.perf_counter() - start
    leaves = [adopt(array) for array in inputs]
    results: list[Buffer] = []
    for k, node in enumerate(file.outputs):
        nbytes = size_of(node.shape) * node.dtype.itemsize
        results.append(leaves[spec.aliases[k]] if k in spec.aliases else allocate(nbytes))
    times = plan.run_timed(leaves, file.numbers, results)
    arrays = [b.array(o.shape, o.dtype) for b, o in zip(results, file.outputs, strict=True)]
    return spec, arrays, times, seconds
