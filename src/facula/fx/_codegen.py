"""Python code of a graph: `PythonCode`, and the `CodeGen` that writes it.

A `CodeGen` says what the function's head is, how arguments become those of the placeholders and how the output is given
back; `_writing.py` has the lines between. `_PyTreeCodeGen` is for graphs traced with trees of arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from facula.fx._namespaces import _Namespace
from facula.fx._writing import Writer
from facula.utils import _pytree as pytree

TransformCodeFunc = Callable[[list[str]], list[str]]


@dataclass
class PythonCode:
    """A function's text, the globals that it needs, and which node each of its lines (from its head on) belongs to."""

    src: str
    globals: dict[str, Any]
    _lineno_map: dict[int, int | None] | None
    _prologue_start: int = 0


class _PyTreeInfo(NamedTuple):
    """The names of the function that was traced, and the trees of what goes in and comes out."""

    orig_args: list[str]
    in_spec: pytree.TreeSpec
    out_spec: pytree.TreeSpec | None


class CodeGen:
    """Writes the code of a graph. Subclasses change the head, the return line, and what becomes of arguments and
    results; `Graph.set_codegen` has a graph use one."""

    def __init__(self) -> None:
        self._body_transformer: TransformCodeFunc | None = None
        self._func_name = "forward"

    def gen_fn_def(self, free_vars: list[str], maybe_return_annotation: str, *, expanded_def: bool = False) -> str:
        """The head: `def forward(self, x):`. `free_vars` are the arguments with annotations and defaults."""
        if not free_vars or free_vars[0] != "self":
            free_vars.insert(0, "self")
        if expanded_def:
            lines = "".join(f"    {name},\n" for name in free_vars)
            return f"def {self._func_name}(\n{lines}){maybe_return_annotation}:"
        return f"def {self._func_name}({', '.join(free_vars)}){maybe_return_annotation}:"

    def generate_output(self, output_args: Any, *, descs: Any = None, repr_fn: Callable[[Any], str] = repr) -> str:
        """The line that gives `output_args` back."""
        return f"return {repr_fn(output_args)}"

    def process_inputs(self, *args: Any) -> Any:
        """The values of the placeholders, of the function's arguments."""
        return args

    def process_outputs(self, outputs: Any) -> Any:
        """What the function gives, of the value of the output node."""
        return outputs

    def additional_globals(self) -> list[tuple[str, Any]]:
        """(name, object) of globals that the head or the return line mentions."""
        return []

    def _gen_python_code(self, nodes: Any, root_module: str, namespace: _Namespace, *, verbose: bool = False,
                         include_stride: bool = False, include_device: bool = False, colored: bool = False,
                         expanded_def: bool = False, additional_meta: Sequence[str] | None = None) -> PythonCode:
        writer = Writer(self, root_module, namespace, verbose=verbose, include_stride=include_stride,
                        include_device=include_device, colored=colored, expanded_def=expanded_def,
                        additional_meta=additional_meta or ())
        source, globals_, lines, start = writer.written(list(nodes))
        return PythonCode(source, globals_, lines, start)


class _BoxedCodeGen(CodeGen):
    """Has the function take one list, which it empties: so nothing else holds the arguments."""

    def gen_fn_def(self, free_vars: list[str], maybe_return_annotation: str, *, expanded_def: bool = False) -> str:
        names = [name.partition(":")[0].partition("=")[0].strip() for name in free_vars]
        head = f"def {self._func_name}(self, args_list){maybe_return_annotation}:"
        if names:
            head += f"\n    {', '.join(names)}, = args_list\n    args_list.clear()"
        return head


class _PyTreeCodeGen(CodeGen):
    """Takes and gives trees: as the function did that was traced with `concrete_args`."""

    def __init__(self, pytree_info: _PyTreeInfo) -> None:
        super().__init__()
        self.pytree_info: _PyTreeInfo = pytree_info

    def process_inputs(self, *inputs: Any) -> Any:
        return pytree.arg_tree_leaves(*inputs)

    def process_outputs(self, out: Any) -> Any:
        if not isinstance(out, (list, tuple)):
            out = [out]
        if self.pytree_info.out_spec is None:
            raise AssertionError("pytree_info.out_spec must not be None")
        return pytree.tree_unflatten(out, self.pytree_info.out_spec)

    def gen_fn_def(self, free_vars: list[str], maybe_return_annotation: str, *, expanded_def: bool = False) -> str:
        info = self.pytree_info
        if not info.orig_args:
            return super().gen_fn_def(free_vars, maybe_return_annotation, expanded_def=expanded_def)
        leaves = [name.partition(":")[0].partition("=")[0].strip() for name in free_vars]
        whole = dict(zip(leaves, free_vars, strict=True))  # with annotation and default
        given = [name for name in info.orig_args if name != "self"]
        head = super().gen_fn_def([whole.get(name, name) for name in given], maybe_return_annotation,
                                  expanded_def=expanded_def)
        if leaves:
            head += self.gen_var_bindings(given, leaves)
        return head

    def gen_var_bindings(self, fn_args: list[str], free_vars: list[str], expanded_def: bool = False) -> str:
        """The line that takes the arguments apart."""
        return (f"\n    {', '.join(free_vars)}, = "
                f"fx_pytree.tree_flatten_spec([{', '.join(fn_args)}], self._in_spec)")

    def generate_output(self, output_args: Any, *, descs: Any = None, repr_fn: Callable[[Any], str] = repr) -> str:
        if self.pytree_info and self.pytree_info.out_spec:
            parts = output_args if isinstance(output_args, (list, tuple)) else [output_args]
            return f"return pytree.tree_unflatten({repr_fn(list(parts))}, self._out_spec)"
        return super().generate_output(output_args, repr_fn=repr_fn)
