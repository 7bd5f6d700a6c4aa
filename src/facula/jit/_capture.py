"""A program for given arguments, as a graph with as many sizes open as it allows: what `trace` stands on.

It is `torch.export`'s capture, which computes nothing and checks what Python decides by sizes. Where a program asks for
elements (`if x.sum() > 0:`, `int(x.max())`) that capture cannot answer. Then the program is run with the arguments and
every answer stays what it was, sizes too: what PyTorch's tracer does, with the same warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from facula._tensor.handle import Tensor
from facula.errors import warn
from facula.export._export import _forward_names, export
from facula.export.dynamic_shapes import Dim, ShapesCollection
from facula.export.exported_program import ExportedProgram
from facula.fx.experimental.proxy_tensor import make_fx
from facula.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from facula.fx.graph_module import GraphModule
from facula.jit._state import tracing
from facula.nn import Module
from facula.utils import _pytree as pytree


class TracerWarning(Warning):
    """Of what a trace does not see: what Python decides by elements of a tensor stays as it was decided."""

    @staticmethod
    def ignore_lib_warnings() -> None:
        """Nothing: there are none from within the library."""


class Function(Module):
    """A function as a module, so that it can be captured."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.__dict__["forward"] = function


@contextmanager
def method_as_forward(module: Module, name: str) -> Iterator[None]:
    """Calls of `module` are calls of another of its methods."""
    before = module.__dict__.get("forward")
    if name != "forward":
        module.__dict__["forward"] = getattr(module, name)
    try:
        yield
    finally:
        if name != "forward":
            del module.__dict__["forward"]
            if before is not None:
                module.__dict__["forward"] = before


def captured(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ExportedProgram:
    """The program of a call."""
    with tracing():
        try:
            return _with_open_sizes(module, args, kwargs)
        except (GuardOnDataDependentSymNode, NotImplementedError) as error:
            why = error
        try:
            program = _with_answers(module, args, kwargs)
        except NotImplementedError as error:
            raise error from why
    if isinstance(why, GuardOnDataDependentSymNode):
        warn("The program asks for elements of tensors. We can't record what Python does with them, so it will be "
             "treated as a constant in the future: the trace might not generalize to other inputs! "
             f"({str(why).partition(chr(10))[0]})", TracerWarning)
    return program


def _with_open_sizes(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ExportedProgram:
    """Every size open, as far as the program allows; if a first one (of a batch) is not then, those alone."""
    tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    found = export(module, args, kwargs, dynamic_shapes=_open(tensors, None))
    if _batches(found) < sum(t.dim() > 0 and t.shape[0] > 1 for t in tensors):
        other = export(module, args, kwargs, dynamic_shapes=_open(tensors, 1))
        if _batches(other) > _batches(found):
            return other
    return found


def _open(tensors: list[Any], dims: int | None) -> ShapesCollection | None:
    shapes = ShapesCollection()
    for t in tensors:
        if t.dim():
            shapes[t] = dict.fromkeys(range(t.dim())[:dims], Dim.AUTO)
    return shapes if len(shapes) else None


def _batches(program: ExportedProgram) -> int:
    """Of how many inputs the first size is open."""
    users = set(program.graph_signature.user_inputs)
    values = [node.meta.get("val") for node in program.graph.find_nodes(op="placeholder") if node.name in users]
    return sum(isinstance(v, Tensor) and v.dim() > 0 and not isinstance(v.shape[0], int) for v in values)


def _with_answers(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ExportedProgram:
    """The program of this run, with these elements and sizes."""
    names = list(kwargs)

    def called(*given: Any) -> Any:
        return module(*given[:len(args)], **dict(zip(names, given[len(args):], strict=True)))
    given = *args, *kwargs.values()
    program = export(_named(make_fx(called, _error_on_data_dependent_ops=False)(*given), module), given)
    program._signature().forward_arg_names = _forward_names(module, args, kwargs)
    program._state_dict = {name: program.state_dict.get(name, t)
                           for name, t in module.state_dict(keep_vars=True).items()}
    return program


def _named(recorded: GraphModule, module: Module) -> GraphModule:
    """A recorded graph in which the module's tensors have the paths that they have there."""
    paths = {id(t): name for name, t in (*module.named_parameters(), *module.named_buffers())}
    for node in recorded.graph.find_nodes(op="get_attr"):
        node.target = paths.get(id(getattr(recorded, node.target)), node.target)
    return GraphModule({str(node.target): _found(recorded, module, str(node.target))
                        for node in recorded.graph.find_nodes(op="get_attr")}, recorded.graph)


def _found(recorded: GraphModule, module: Module, path: str) -> Any:
    if path.startswith(("_tensor_constant", "_param_constant")):
        return getattr(recorded, path)
    owner, _, name = path.rpartition(".")
    return getattr(module.get_submodule(owner), name)
