"""`Graph`: a function as a list of nodes, each of which is one call.

Example:
    >>> import facula
    >>> graph = facula.fx.Graph()
    >>> x = graph.placeholder("x")
    >>> y = graph.call_function(facula.relu, (x,))
    >>> print(graph.output(y) and graph)
    graph():
        %x : [num_users=1] = placeholder[target=x]
        %relu : [num_users=1] = call_function[target=torch.relu](args = (%x,), kwargs = {})
        return relu
    >>> print(facula.fx.GraphModule({}, graph).code.strip())
    def forward(self, x):
        relu = torch.relu(x);  x = None
        return relu
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from facula.errors import warn
from facula.fx import _names as names_of
from facula.fx import _tables
from facula.fx._codegen import (
    CodeGen,
    PythonCode,
    _BoxedCodeGen,
    _PyTreeInfo,
)
from facula.fx._compatibility import compatibility
from facula.fx._linting import lint
from facula.fx._namespaces import (
    _custom_builtins,
    _CustomBuiltin,
    _is_magic,
    _Namespace,
    _register_custom_builtin,
    _snake_case,
)
from facula.fx._writing import (
    _format_target,
    _parse_stack_trace,
    _ParsedStackTrace,
    dtype_abbrs,
    inplace_methods,
    magic_methods,
    reflectable_magic_methods,
)
from facula.fx.node import Argument, Node, Target, _get_qualified_name, _type_repr, map_arg

if TYPE_CHECKING:
    from facula.fx.graph_module import GraphModule

__all__ = ["CodeGen", "Graph", "PythonCode"]
# Names by which libraries find these.
_OFFERED = (_BoxedCodeGen, _ParsedStackTrace, _parse_stack_trace, _CustomBuiltin, _PyTreeInfo, _custom_builtins,
            _format_target, _get_qualified_name,
            _register_custom_builtin, _type_repr, dtype_abbrs, inplace_methods, magic_methods,
            reflectable_magic_methods)


class _node_list:
    """The nodes of a graph in their order, or backwards; nodes may be removed meanwhile."""

    def __init__(self, graph: Graph, direction: str = "_next") -> None:
        if direction not in ("_next", "_prev"):
            raise AssertionError(f"direction must be '_next' or '_prev', got {direction!r}")
        self.graph, self.direction = graph, direction

    def __len__(self) -> int:
        return self.graph._len

    def __iter__(self) -> Iterator[Node]:
        root = self.graph._root
        node = getattr(root, self.direction)
        while node is not root:
            if not node._erased:
                yield node
            node = getattr(node, self.direction)

    def __reversed__(self) -> _node_list:
        return _node_list(self.graph, "_prev" if self.direction == "_next" else "_next")


class _InsertPoint:
    """Where new nodes go, until the `with` block ends."""

    def __init__(self, graph: Graph, new_insert: Callable[[Node], None]) -> None:
        self.graph = graph
        self.orig_insert, graph._insert = graph._insert, new_insert

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.graph._insert = self.orig_insert


@compatibility(is_backward_compatible=True)
class Graph:
    """A list of nodes. `owning_module` is the GraphModule whose `forward` it is, if there is one.

    See the module for an example.
    """

    def __init__(self, owning_module: GraphModule | None = None, tracer_cls: Any = None,
                 tracer_extras: dict[str, Any] | None = None) -> None:
        self._root: Node = Node(self, "", "root", "", (), {})
        self._order: dict[Node, int] | None = None
        self._insert: Callable[[Node], None] = self._root.prepend
        self._len = 0
        self._graph_namespace = _Namespace()
        self._owning_module = owning_module
        self._owners = 0
        self._tracer_cls = tracer_cls
        self._tracer_extras = tracer_extras
        self._codegen = CodeGen()

    @property
    def owning_module(self) -> Any:
        """The GraphModule that the graph is the code of; None if there is none, or several."""
        return self._owning_module

    @owning_module.setter
    def owning_module(self, mod: Any) -> None:
        self._owning_module = mod

    @property
    def nodes(self) -> _node_list:
        """The nodes in their order; `reversed` gives them backwards."""
        return _node_list(self)

    def output_node(self) -> Node:
        """The node of the output. AssertionError if the last node is none."""
        last = next(iter(reversed(self.nodes)))
        if last.op != "output":
            raise AssertionError(f"Expected output node, got op={last.op}")
        return last

    def find_nodes(self, *, op: str, target: Target | None = None, sort: bool = True) -> list[Node]:
        """The nodes of a kind; of "call_function" those that call `target`, which has to be given."""
        if op == "call_function" and target is None:
            raise AssertionError("target must not be None for call_function op")
        return [node for node in self.nodes if node.op == op and (target is None or node.target == target)]

    # -- copies ---------------------------------------------------------------------------------
    def graph_copy(self, g: Graph, val_map: dict[Node, Node], return_output_node: bool = False) -> Any:
        """Copy the nodes of `g` into this graph, but for those in `val_map`, which says what stands for them here and
        is added to. Gives what the output of `g` is here; the output node is not copied. With `return_output_node` a
        tuple of that and the output node of `g`."""
        for node in g.nodes:
            if node in val_map:
                continue
            if node.op == "output":
                value = map_arg(node.args[0], val_map.__getitem__)
                return (value, node) if return_output_node else value
            val_map[node] = self.node_copy(node, val_map.__getitem__)
        return None

    def node_copy(self, node: Node, arg_transform: Callable[[Node], Argument] = lambda x: x) -> Node:
        """A copy of a node of another graph at the place where nodes are inserted. `arg_transform(node)` says what
        stands here for a node among its arguments."""
        args, kwargs = map_arg(node.args, arg_transform), map_arg(node.kwargs, arg_transform)
        copied = self.create_node(node.op, node.target, args, kwargs, node.name, node.type)
        copied.meta = copy.copy(node.meta)
        return copied

    def __deepcopy__(self, memo: Any = None) -> Graph:
        memo = {} if memo is None else memo
        found = Graph(tracer_cls=self._tracer_cls)
        copied: dict[Node, Node] = {}
        result = found.graph_copy(self, copied, return_output_node=True)
        found._codegen = copy.deepcopy(self._codegen)
        if result is not None:
            value, old = result
            output = found.output(value, type_expr=old.type)
            output.meta = copy.copy(old.meta)
            copied[old] = output
        memo[id(self)] = found
        memo.update({id(old): new for old, new in copied.items()})
        return found

    def __reduce__(self) -> Any:
        return _tables.rebuilt, (type(self), _tables.table_of(self), self._tracer_cls, self._tracer_extras,
                                 self._codegen)

    # -- new nodes ------------------------------------------------------------------------------
    def create_node(self, op: str, target: Target, args: tuple[Argument, ...] | None = None,
                    kwargs: dict[str, Argument] | None = None, name: str | None = None,
                    type_expr: Any = None) -> Node:
        """A new node at the place where nodes are inserted (at the end, or where `inserting_before` has said).

        Args:
            name: what it is to be called; numbered if that is taken.
            type_expr: an annotation of its result.

        Raises:
            AssertionError: an unknown `op`, arguments that are no tuple or dict.
            ValueError: a target that does not fit `op`.
        """
        args = () if args is None else args
        kwargs = {} if kwargs is None else kwargs
        if not isinstance(args, tuple):
            raise AssertionError(f"args must be a tuple, got {type(args)}")
        if not isinstance(kwargs, dict):
            raise AssertionError(f"kwargs must be a dict, got {type(kwargs)}")
        name = self._graph_namespace.create_name(name if name is not None else self._target_to_str(target), None)
        node = Node(self, name, op, target, args, kwargs, type_expr)
        for tell in list(getattr(self.owning_module, "_create_node_hooks", ())):
            tell(node)
        self._graph_namespace.associate_name_with_obj(name, node)
        self._insert(node)
        self._len += 1
        return node

    def placeholder(self, name: str, type_expr: Any = None, default_value: Any = ...) -> Node:
        """An argument of the function. It has no default if `default_value` is left out."""
        args = () if default_value is ... else (default_value,)
        return self.create_node("placeholder", name, args=args, type_expr=type_expr)

    def get_attr(self, qualified_name: str, type_expr: Any = None) -> Node:
        """An attribute of the module or of a submodule: a parameter, a buffer. A warning where the owning module has
        none of that name."""
        owner = self.owning_module
        if owner is not None and not _tables.has_path(owner, qualified_name):
            warn("Attempted to insert a get_attr Node with no underlying reference in the owning GraphModule! Call "
                 "GraphModule.add_submodule to add the necessary submodule, GraphModule.add_parameter to add the "
                 "necessary Parameter, or nn.Module.register_buffer to add the necessary buffer")
        return self.create_node("get_attr", qualified_name, type_expr=type_expr)

    def call_module(self, module_name: str, args: tuple[Argument, ...] | None = None,
                    kwargs: dict[str, Argument] | None = None, type_expr: Any = None) -> Node:
        """A call of the submodule of that path. A warning where the owning module has none."""
        owner = self.owning_module
        if owner is not None and not _tables.has_path(owner, module_name):
            warn("Attempted to insert a call_module Node with no underlying reference in the owning GraphModule! Call "
                 "GraphModule.add_submodule to add the necessary submodule")
        return self.create_node("call_module", module_name, args, kwargs, type_expr=type_expr)

    def call_method(self, method_name: str, args: tuple[Argument, ...] | None = None,
                    kwargs: dict[str, Argument] | None = None, type_expr: Any = None) -> Node:
        """A call of a method of the first argument."""
        return self.create_node("call_method", method_name, args, kwargs, type_expr=type_expr)

    def call_function(self, the_function: Callable[..., Any], args: tuple[Argument, ...] | None = None,
                      kwargs: dict[str, Argument] | None = None, type_expr: Any = None,
                      name: str | None = None) -> Node:
        """A call of a function."""
        return self.create_node("call_function", the_function, args, kwargs, name=name, type_expr=type_expr)

    def output(self, result: Argument, type_expr: Any = None) -> Node:
        """What the function gives."""
        return self.create_node("output", "output", args=(result,), type_expr=type_expr)

    def _target_to_str(self, target: Target) -> str:
        """What a node of that target is called."""
        name = target if isinstance(target, str) else names_of.called(target)
        if _is_magic(name):
            name = name[2:-2]
        return _snake_case(name)

    # -- where nodes go, and which go away ------------------------------------------------------
    def inserting_before(self, n: Node | None = None) -> _InsertPoint:
        """Have new nodes go before `n` (before all others without one); within a `with` block, or from now on.

        Example:
            >>> import facula
            >>> graph = facula.fx.symbolic_trace(lambda x: x + 1).graph
            >>> add = graph.find_nodes(op="call_function", target=__import__("operator").add)[0]
            >>> with graph.inserting_before(add):
            ...     add.update_arg(0, graph.call_method("neg", add.args[:1]))
            >>> [node.name for node in graph.nodes]
            ['x', 'neg', 'add', 'output']
        """
        if n is None:
            return self.inserting_after(self._root)
        if n.graph is not self:
            raise AssertionError("Node to insert before is not in graph.")
        return _InsertPoint(self, n.prepend)

    def inserting_after(self, n: Node | None = None) -> _InsertPoint:
        """Have new nodes go after `n` (after all others without one), each after the last."""
        if n is None:
            return self.inserting_before(self._root)
        if n.graph is not self:
            raise AssertionError("Node to insert after is not in graph.")
        return _InsertPoint(self, n.append)

    def erase_node(self, to_erase: Node) -> None:
        """Take a node out. RuntimeError if another one still has it among its arguments; a second time warns."""
        if len(to_erase.users) > 0:
            raise RuntimeError(f"Tried to erase Node {to_erase} but it still had {len(to_erase.users)} users in the "
                               f"graph: {to_erase.users}!")
        if to_erase.graph is not self:
            raise RuntimeError(f"Attempting to remove {to_erase} from wrong graph!")
        if to_erase._erased:
            warn(f"erase_node({to_erase}) on an already erased node")
            return
        for tell in list(getattr(self.owning_module, "_erase_node_hooks", ())):
            tell(to_erase)
        to_erase._remove_from_list()
        to_erase._erased = True
        self._len -= 1
        to_erase._take((), {})

    def eliminate_dead_code(self, is_impure_node: Callable[[Node], bool] | None = None) -> bool:
        """Erase the nodes that nobody uses and that have no known effect (`Node.is_impure`, or `is_impure_node`).
        Gives whether there were any. In-place operations whose result is not used are taken for pure."""
        self.lint()
        impure = is_impure_node or Node.is_impure
        changed = False
        for node in reversed(self.nodes):
            if not node.users and not impure(node):
                self.erase_node(node)
                changed = True
        return changed

    def lint(self) -> None:
        """Check that nodes come after those that they use, that names are unique, and that what is called and read
        exists in the owning module.

        Raises:
            RuntimeError: one of these does not hold.
        """
        lint(self)

    # -- inputs, outputs, code ------------------------------------------------------------------
    def process_inputs(self, *args: Any) -> Any:
        """The values of the placeholders for arguments of the function."""
        return self._codegen.process_inputs(*args)

    def process_outputs(self, out: Any) -> Any:
        """What the function gives where the output node is `out`."""
        return self._codegen.process_outputs(out)

    def set_codegen(self, codegen: CodeGen) -> None:
        """Have `codegen` write the graph's code from now on."""
        self._codegen = codegen

    def on_generate_code(self, make_transformer: Callable[[Any], Any]) -> Any:
        """Have the lines of generated code go through a function. `make_transformer(before)` gives it: from the list of
        lines to another list; `before` is the function that was there, or None. As a context manager it ends.

        Example:
            >>> import facula
            >>> module = facula.fx.symbolic_trace(lambda x: x + 1)
            >>> graph = module.graph
            >>> with graph.on_generate_code(lambda before: lambda body: ["# generated\\n", *body]):
            ...     "# generated" in graph.python_code("self").src
            True
        """
        before = self._codegen._body_transformer
        self._codegen._body_transformer = make_transformer(before)
        graph = self

        class _Ends:
            def __enter__(self) -> None:
                pass

            def __exit__(self, *exc: object) -> None:
                graph._codegen._body_transformer = before
        return _Ends()

    def python_code(self, root_module: str, *, verbose: bool = False, include_stride: bool = False,
                    include_device: bool = False, colored: bool = False, expanded_def: bool = False,
                    additional_meta: Sequence[str] | None = None) -> PythonCode:
        """The graph as the text of a function `forward`, in which submodules are found in `root_module` ("self").

        Args:
            verbose: with dtypes and shapes where they are known, and where in the program nodes were recorded.
        """
        namespace = _Namespace()

        def named(node: Node) -> str:
            return namespace.create_name(node.name, node)
        before = [(node, node._repr_fn) for node in self.nodes]
        try:
            for node, _ in before:
                node._repr_fn = named
            return self._codegen._gen_python_code(
                self.nodes, root_module, namespace, verbose=verbose, include_stride=include_stride,
                include_device=include_device, colored=colored, expanded_def=expanded_def,
                additional_meta=additional_meta)
        finally:
            for node, shown in before:
                node._repr_fn = shown

    def __str__(self) -> str:
        return "graph():" + "".join(f"\n    {node.format_node()}" for node in self.nodes)

    def print_tabular(self) -> None:
        """Print the nodes as a table: kind, name, target, arguments.

        Example:
            >>> import facula
            >>> facula.fx.symbolic_trace(lambda x: x.abs()).graph.print_tabular()
            opcode       name    target    args      kwargs
            -----------  ------  --------  --------  --------
            placeholder  x       x         ()        {}
            call_method  abs_1   abs       (x,)      {}
            output       output  output    (abs_1,)  {}
        """
        rows = [[node.op, node.name, node.target, node.args, node.kwargs] for node in self.nodes]
        print(_tables.table(["opcode", "name", "target", "args", "kwargs"], rows))




