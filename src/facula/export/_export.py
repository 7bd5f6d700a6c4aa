"""`torch.export.export`: a program run once with described tensors, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facula._dynamo.exc import UserError
from facula.export._particulars import _forward_names
from facula.export._run import Run
from facula.export.dynamic_shapes import ShapesCollection, combined, sizes_of
from facula.export.exported_program import ExportedProgram
from facula.nn import Module

__all__ = ["_forward_names", "export"]


def export(mod: Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None, *,
           dynamic_shapes: Any = None, strict: bool = False, preserve_module_call_signature: tuple[str, ...] = (),
           prefer_deferred_runtime_asserts_over_guards: bool = False) -> ExportedProgram:
    """The program of a module as a graph of operations.

    The module is run once, with tensors that are described only: nothing is computed, its parameters, buffers and the
    random generator stay as they are. What Python decides on the way is decided for all calls; that it holds for them
    is checked, now or by `module()` at a call.

    Args:
        args, kwargs: arguments as for a call: trees of tensors and other values, which are always these then.
        dynamic_shapes: which sizes are open, by the names of `forward`'s arguments or in their order: for a tensor a
            dict `{dimension: Dim}` or an entry for each dimension, for a container of tensors a like one.
        strict: no difference is made.

    Raises:
        ValueError: no module; tensors kept in attributes on the way.
        UserError (a RuntimeError): the program does not hold for sizes that were said to be open.
        GuardOnDataDependentSymNode (a RuntimeError): it decides by elements of a tensor; the message has the line.
        NotImplementedError: what is not in Facula yet.

    Example:
        >>> import facula
        >>> class Net(facula.nn.Module):
        ...     def forward(self, x):
        ...         return x.view(x.shape[0] * 2, -1)
        >>> batch = facula.export.Dim("batch")
        >>> program = facula.export.export(Net(), (facula.ones(3, 4),), dynamic_shapes=({0: batch},))
        >>> print(program.graph_module.code.strip())
        def forward(self, x):
            sym_size_int = torch.ops.aten.sym_size.int(x, 0)
            mul = sym_size_int * 2;  sym_size_int = None
            view = torch.ops.aten.view.default(x, [mul, -1]);  x = mul = None
            return (view,)
    """
    if not isinstance(mod, Module):
        raise ValueError(f"Expected `mod` to be an instance of `torch.nn.Module`, got {type(mod)}.")
    if not isinstance(args, tuple):
        raise UserError(f"Expecting `args` to be a tuple of example positional inputs, got {type(args)}")
    if preserve_module_call_signature:
        raise NotImplementedError("torch.export.export(preserve_module_call_signature=) is not in Facula yet")
    kwargs = dict(kwargs or {})
    if isinstance(dynamic_shapes, ShapesCollection):
        dynamic_shapes = dynamic_shapes.dynamic_shapes(mod, args, kwargs)
    arguments = combined(mod, args, kwargs)
    sizes = sizes_of(mod, arguments, dynamic_shapes)
    run = Run(mod, args, kwargs, arguments, sizes)
    return run.program()
