"""`torch.export`: programs as graphs of named operations, for others to run, change or translate.

    _export.py       export; _run.py one module, its arguments, its ExportedProgram; _particulars.py
    _solve.py        which sizes may be open after all: captured again until all cases agree
    _cases.py        the cases, in which every size that is open has another value
    _capture.py      one capture: what goes in, what Python asks; on _calling.py (operations) and _writing.py (nodes)
    _hearing.py      what the program calls: noted, answered or refused
    _calls.py, _overloads.py, _special_calls.py, _indexing.py      a public call as one of torch.ops.aten
    _control.py, _loops.py, _subgraphs.py      control flow, whose functions are graphs; _described.py before it runs
    _traced.py       what stands for a tensor meanwhile
    _fitting.py      the formula of a size, of its values
    _training.py     training_step: a step of training; _training_operations.py what its graph calls
    _decomposing.py  run_decompositions: a graph captured anew, with what _decompositions.py has, and without writes
    _functional.py, _inverses.py     how a write becomes a value
    _files.py, _encoding.py      save and load: a program as JSON and bytes
    _unlifted.py     ExportedProgram.module(), and what it checks of arguments
    dynamic_shapes.py, graph_signature.py, exported_program.py     what users see

Example:
    >>> import facula
    >>> program = facula.export.export(facula.nn.Linear(3, 2), (facula.ones(4, 3),))
    >>> [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    ['aten.linear.default']
"""

from __future__ import annotations

from typing import Any

from facula import absent
from facula.export import _decomposing
from facula.export._export import export
from facula.export._files import DamagedProgram, load, save
from facula.export._training import training_step
from facula.export.dynamic_shapes import AdditionalInputs, Constraint, Dim, ShapesCollection, dims
from facula.export.exported_program import (
    ExportedProgram,
    ModuleCallEntry,
    ModuleCallSignature,
    default_decompositions,
)
from facula.export.graph_signature import ExportBackwardSignature, ExportGraphSignature
from facula.utils._pytree import register_dataclass

__all__ = ["AdditionalInputs", "Constraint", "DamagedProgram", "Dim", "ExportBackwardSignature", "ExportGraphSignature",
           "ExportedProgram", "ModuleCallEntry", "ModuleCallSignature", "ShapesCollection", "default_decompositions",
           "dims", "draft_export", "export", "load", "register_dataclass", "save", "training_step",
           "unflatten"]

draft_export = absent.function("torch.export.draft_export", "export says what is wrong with a program")
unflatten = absent.function("torch.export.unflatten", "module() gives one flat graph")
assert _decomposing  # what run_decompositions comes to


def __getattr__(name: str) -> Any:
    raise absent.missing("export", name)
