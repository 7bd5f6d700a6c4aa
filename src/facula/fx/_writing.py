"""The lines of generated code: one a node, and which names it needs.

`x = None` behind a line lets a value go after its last use, so that generated code holds no more than the program did.
"""

from __future__ import annotations

import enum
import re
import types
import typing
from collections.abc import Sequence
from typing import Any, NamedTuple

import facula
from facula._tensor.handle import Tensor
from facula.fx._names import is_from_torch, qualified_name
from facula.fx._namespaces import _custom_builtins, _Namespace
from facula.fx.node import Node, _type_repr
from facula.symbolic_numbers import SymBool, SymFloat, SymInt

__all__ = ["Writer", "dtype_abbrs", "inplace_methods", "magic_methods",
           "reflectable_magic_methods"]

reflectable_magic_methods = {
    "add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}", "floordiv": "{} // {}", "truediv": "{} / {}",
    "div": "{} / {}", "mod": "{} % {}", "pow": "{} ** {}", "lshift": "{} << {}", "rshift": "{} >> {}",
    "and_": "{} & {}", "or_": "{} | {}", "xor": "{} ^ {}", "getitem": "{}[{}]", "matmul": "{} @ {}"}
magic_methods = {
    "eq": "{} == {}", "ne": "{} != {}", "lt": "{} < {}", "gt": "{} > {}", "le": "{} <= {}", "ge": "{} >= {}",
    "pos": "+{}", "neg": "-{}", "invert": "~{}", **reflectable_magic_methods}
inplace_methods = {
    "iadd": "{} += {}", "iand": "{} &= {}", "ifloordiv": "{} //= {}", "ilshift": "{} <<= {}", "imod": "{} %= {}",
    "imul": "{} *= {}", "imatmul": "{} @= {}", "ior": "{} |= {}", "ipow": "{} **= {}", "irshift": "{} >>= {}",
    "isub": "{} -= {}", "itruediv": "{} /= {}", "ixor": "{} ^= {}", "setitem": "{}[{}] = {}"}
_SHORT = {"bfloat16": "bf16", "bool": "b8", "complex32": "c32", "complex64": "c64", "complex128": "c128"}
_WHERE = re.compile(r'^File "(.+)", line (\d+), in (.+)$')


def _abbreviated(dtype: Any) -> str:
    name = str(dtype).removeprefix("torch.")
    return _SHORT.get(name) or re.sub(r"^(u?)([a-z])[a-z]*", r"\1\2", name)


dtype_abbrs = {getattr(facula, name): _abbreviated(getattr(facula, name)) for name in (
    "bfloat16", "float64", "float32", "float16", "complex64", "complex128", "int8", "int16", "int32", "int64", "bool",
    "uint8")}


def _format_target(base: str, target: str) -> str:
    """`base.a.b`, with getattr for parts that are no names."""
    found = base
    for part in target.split("."):
        found = f"{found}.{part}" if part.isidentifier() else f'getattr({found}, "{part}")'
    return found


def _last_uses(nodes: Sequence[Node]) -> dict[Node, list[Node]]:
    """Which values are used for the last time by a node; those that nobody uses, by themselves."""
    found: dict[Node, list[Node]] = {}
    seen: set[Node] = set()
    for node in reversed(nodes):
        for used in node.all_input_nodes:
            if used not in seen:
                seen.add(used)
                found.setdefault(node, []).append(used)
    return found


class Writer:
    """Writes one function. `written` gives its text, the globals it needs, a node's number for each line from the head
    on, and the line at which the head stands."""

    def __init__(self, codegen: Any, root: str, namespace: _Namespace, *, verbose: bool, include_stride: bool,
                 include_device: bool, colored: bool, expanded_def: bool, additional_meta: Sequence[str]) -> None:
        self.codegen, self.root, self.namespace = codegen, root, namespace
        self.verbose, self.stride, self.device = verbose, include_stride, include_device
        self.expanded, self.additional_meta = expanded_def, additional_meta
        self.colors = ("\033[31m", "\033[32m", "\033[2m", "\033[0m") if colored else ("", "", "", "")
        self.globals: dict[str, Any] = {}
        self.wrapped: dict[str, None] = {}
        self.free_vars: list[str] = []
        self.returns = [""]
        self.body: list[str] = []
        self.told: Any = None  # of which place of the program was told last

    # -- names and values -----------------------------------------------------------------------
    def add_global(self, hint: str, obj: Any) -> str:
        """The name by which the code reaches `obj`."""
        if is_from_torch(obj) and obj is not facula.device:
            return qualified_name(obj)
        wanted = hint.replace(".", "_")
        name = self.namespace.create_name(wanted, _hashable(obj))
        if self.globals.get(name, obj) is not obj:  # the name of another global: made before by the caller
            raise AssertionError(f"two globals are called {name}")
        self.globals[name] = obj
        return name

    def type_repr(self, kind: Any) -> str:
        """A type as an annotation, its parts as globals."""
        if kind == () or kind is None:
            return "()" if kind == () else self.add_global(_type_repr(type(None)), type(None))
        name = _type_repr(kind)
        if isinstance(kind, types.UnionType) or hasattr(kind, "__origin__"):
            origin: Any = kind.__origin__ if hasattr(kind, "__origin__") else typing.Union
            shown = _type_repr(origin)
            builtin = isinstance(origin, type) and origin.__module__ == "builtins"
            if builtin and not isinstance(kind, types.GenericAlias):  # typing.List[int], not list[int]
                origin = getattr(typing, origin.__name__.capitalize(), origin)
                shown = f"typing.{origin.__name__.capitalize()}" if hasattr(origin, "__origin__") else shown
            args = [self.type_repr(arg) for arg in getattr(kind, "__args__", ())]
            outer = self.add_global("typing.Union" if origin is typing.Union else shown, origin)
            return f"{outer}[{','.join(args)}]" if args else outer
        return self.add_global(name, kind)

    def value(self, arg: Any) -> str:
        """An argument as an expression."""
        if hasattr(arg, "_custom_fx_repr_fn"):
            return repr(arg)
        if isinstance(arg, tuple) and hasattr(arg, "_fields"):
            kind = type(arg)
            return f"{self.add_global(_type_repr(kind), kind)}{self._tuple(arg)}"
        if isinstance(arg, facula.Size):
            return f"torch.Size([{', '.join(map(self.value, arg))}])"
        if isinstance(arg, tuple):
            return self._tuple(arg)
        if isinstance(arg, list):
            return f"[{', '.join(map(self.value, arg))}]"
        if isinstance(arg, dict):
            return "{" + ", ".join(f"{self.value(key)}: {self.value(part)}" for key, part in arg.items()) + "}"
        if isinstance(arg, slice):
            return f"slice({self.value(arg.start)}, {self.value(arg.stop)}, {self.value(arg.step)})"
        if isinstance(arg, enum.Enum):
            return f"{self.add_global(_type_repr(type(arg)), type(arg))}.{arg.name}"
        if isinstance(arg, Node):
            return f"{self.colors[0]}{arg!r}{self.colors[3]}"
        if isinstance(arg, facula.device):
            return self._device(arg)
        if isinstance(arg, Tensor):
            size = list(arg.size())
            return f"torch.Tensor(size={size}, dtype={dtype_abbrs.get(arg.dtype, arg.dtype)})"
        if callable(arg) and not isinstance(arg, facula.dtype):
            return self.add_global(qualified_name(arg), arg)
        if type(arg) not in (str, int, float, bool, complex, type(None)) and type(arg).__module__ == "facula.dtypes":
            return str(arg)
        return repr(arg)

    def _device(self, device: Any) -> str:
        self.globals["device"] = facula.device
        return repr(device)

    def _tuple(self, parts: tuple[Any, ...]) -> str:
        text = ", ".join(map(self.value, parts))
        return f"({text},)" if len(parts) == 1 else f"({text})"

    def arguments(self, args: Sequence[Any], kwargs: dict[str, Any]) -> str:
        """What stands between the parentheses of a call."""
        named = [f"{name} = {self.value(arg)}" for name, arg in kwargs.items()]
        return ", ".join([*map(self.value, args), *named])

    # -- one node -------------------------------------------------------------------------------
    def annotation(self, node: Node) -> str:
        """` : type`, or in readable code dtype and shape of what was computed."""
        plain = "" if node.type is None else f" : {self.type_repr(node.type)}"
        if not self.verbose:
            return plain
        found = node.meta.get("val", node.meta.get("tensor_meta"))
        text = ""
        if isinstance(found, Tensor) or type(found).__name__ == "TensorMetadata":
            text = self.tensor_text(found)
        elif isinstance(found, (int, float, bool, SymInt, SymFloat, SymBool)):
            text = f"Sym({found})"
        if not text:
            return plain
        return f': {self.colors[1]}"{text}"{self.colors[3]}'

    def tensor_text(self, found: Any) -> str:
        """`f32[2, 3]`, with strides and device where they are wanted."""
        text = f"{dtype_abbrs.get(found.dtype, str(found.dtype))}[{', '.join(map(str, found.shape))}]"
        if self.stride and isinstance(found, Tensor):
            text += f"[{', '.join(map(str, found.stride()))}]"
        if self.device and isinstance(found, Tensor):
            text += str(found.device)
        return text

    def tell_place(self, node: Node) -> None:
        """In readable code: a comment where the program's line is another one than before."""
        if node.op in ("placeholder", "output"):
            return
        place = _parse_stack_trace(node.stack_trace) if node.stack_trace else None
        where = place.get_summary_str() if place else ""
        if where == self.told:
            return
        first, self.told = self.told is None, where
        text = where or "No stacktrace found for following nodes"
        shown = f"{self.colors[2]}# {text}{self.colors[3]}\n"
        self.body.append(shown if first else "\n" + shown)

    def emit(self, node: Node) -> None:
        """The node's line, without an end."""
        name = f"{self.colors[0]}{node!r}{self.colors[3]}" + ("" if node.op in ("placeholder", "output") else
                                                             self.annotation(node))
        if node.op == "placeholder":
            self.placeholder(node)
        elif node.op == "call_method":
            self.body.append(f"{name} = {_format_target(self.value(node.args[0]), node.target)}"
                             f"({self.arguments(node.args[1:], node.kwargs)})")
        elif node.op == "call_function":
            self.body.append(self.function_call(node, name))
        elif node.op == "call_module":
            self.body.append(f"{name} = {_format_target(self.root, node.target)}"
                             f"({self.arguments(node.args, node.kwargs)})")
        elif node.op == "get_attr":
            self.body.append(f"{name} = {_format_target(self.root, node.target)}")
        elif node.op == "output":
            if node.type is not None:
                self.returns[0] = f" -> {self.type_repr(node.type)}"
            self.body.append(self.codegen.generate_output(node.args[0], repr_fn=self.value))
        else:
            raise NotImplementedError(f"node: {node.op} {node.target}")

    def placeholder(self, node: Node) -> None:
        """An argument of the function; a line only where it is called otherwise in the code."""
        default = f" = {self.value(node.args[0])}" if node.args else ""
        self.free_vars.append(f"{node.target}{self.annotation(node)}{default}")
        raw = node.target.replace("*", "")
        if raw != repr(node):
            self.body.append(f"{node!r} = {raw}\n")

    def function_call(self, node: Node, name: str) -> str:
        """A call of a function: as an operator or attribute where it is one."""
        target, args = node.target, node.args
        if getattr(target, "__module__", "") == "_operator" and not node.kwargs:
            if target.__name__ in magic_methods:
                return f"{name} = {magic_methods[target.__name__].format(*map(self.value, args))}"
            if target.__name__ in inplace_methods:
                line = inplace_methods[target.__name__].format(*map(self.value, args))
                return f"{line};  {name} = {self.value(args[0])}"
        called = self.add_global(qualified_name(target), target)
        if (called == "getattr" and len(args) == 2 and isinstance(args[1], str) and args[1].isidentifier()
                and not node.kwargs):
            return f"{name} = {_format_target(self.value(args[0]), args[1])}"
        if node.meta.get("is_wrapped", False):
            self.wrapped[called] = None
        return f"{name} = {called}({self.arguments(args, node.kwargs)})"

    def let_go(self, node: Node, last: dict[Node, list[Node]]) -> None:
        """The end of the node's line: values that are used for the last time."""
        if node.op in ("placeholder", "output"):
            if node.op == "output":
                self.body.append("\n")
            return
        done = last.get(node, [])
        done = [*done, node] if not node.users else done
        names = " = ".join([*(repr(used) for used in done), "None"])
        ending = f";  {self.colors[2]}{names}{self.colors[3]}\n" if done else "\n"
        self.body.append(ending)

    # -- the whole ------------------------------------------------------------------------------
    def written(self, nodes: list[Node]) -> tuple[str, dict[str, Any], dict[int, int | None], int]:
        """Text, globals, numbers of nodes by line, the head's line."""
        for name, builtin in _custom_builtins.items():
            self.globals[self.namespace.create_name(name, builtin.obj)] = builtin.obj
        for name, obj in self.codegen.additional_globals():
            self.add_global(name, obj)
        last = _last_uses(nodes)
        for number, node in enumerate(nodes):
            if self.verbose:
                self.tell_place(node)
                for key in self.additional_meta:
                    if key in node.meta:
                        self.body.append(f"# {key}: {node.meta[key]}\n")
            self.body.append(f"# COUNTER: {number}\n")
            self.emit(node)
            self.let_go(node, last)
        if all(line.startswith("# COUNTER") for line in self.body):
            self.body.append("pass\n")
        if self.codegen._body_transformer:
            self.body = self.codegen._body_transformer(self.body)
        wraps = "\n".join(f'torch.fx._symbolic_trace.wrap("{name}")' for name in self.wrapped)
        head = self.codegen.gen_fn_def(self.free_vars, self.returns[0], expanded_def=self.expanded)
        lines, places = self.numbered("".join(self.body), head.count("\n") + 1)
        body = "\n".join("    " + line if line or not self.verbose else "" for line in lines)
        return f"\n{wraps}\n\n{head}\n{body}", self.globals, places, wraps.count("\n") + 3

    def numbered(self, text: str, head: int) -> tuple[list[str], dict[int, int | None]]:
        """The lines without their counters, and which node each belongs to."""
        lines: list[str] = []
        places: dict[int, int | None] = {}
        at: int | None = None
        for line in text.split("\n"):
            counter = re.match(r"# COUNTER: (\d+)", line)
            if counter:
                at = int(counter[1])
            else:
                lines.append(line)
            places[len(lines) + head] = at
        places.pop(len(lines) + head, None)  # what follows the last line
        return lines, places


class _ParsedStackTrace(NamedTuple):
    """A place in a program."""

    file: str
    lineno: str
    name: str
    code: str

    def get_summary_str(self) -> str:
        """`File: path:line in function, code: text`."""
        return f"File: {self.file}:{self.lineno} in {self.name}, code: {self.code}"


def _parse_stack_trace(stack_trace: str, filter_fn: Any = None) -> _ParsedStackTrace | None:
    """The last place of a stack trace, or the last for which `filter_fn(file, name, code)` is true."""
    lines = [line.strip() for line in (stack_trace or "").strip().split("\n")]
    for k in range(len(lines) - 1, -1, -1):
        found = _WHERE.match(lines[k])
        if found:
            code = lines[k + 1] if k + 1 < len(lines) else ""
            if filter_fn is None or filter_fn(found[1], found[3], code):
                return _ParsedStackTrace(found[1], found[2], found[3], code)
    return None


class _Unhashable:
    """Stands in a namespace for something that can be no key."""


def _hashable(obj: Any) -> Any:
    try:
        hash(obj)
    except TypeError:
        return _Unhashable()
    return obj
