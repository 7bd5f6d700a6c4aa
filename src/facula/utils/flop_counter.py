"""How many floating-point operations a program asks for (`torch.utils.flop_counter`).

Counted are products, as in PyTorch: matrix products, convolutions, attention, recurrent layers; two for a
multiplication and an addition. Of backward passes what their gradients' products are: one more product of the same size
for each operand that has a gradient.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from facula._tensor.handle import Tensor
from facula.nn.modules.module import Module
from facula.nn.modules.rnn import RNNBase
from facula.ops.listening import quiet
from facula.overrides import TorchFunctionMode
from facula.utils.module_tracker import ModuleTracker

Formula = Callable[..., int]
# By the name of an operation: what a call with these shapes takes, and how many of its first operands it multiplies.
flop_registry: dict[Any, Formula] = {}


def register_flop_formula(targets: Any, get_raw: bool = False) -> Callable[[Formula], Formula]:
    """A decorator: the function tells the operations of calls of `targets` (names of operations, or functions).

    It is given the call's arguments with shapes in place of tensors and `out_shape=`; with `get_raw` the arguments as
    they are and `out_val=`.
    """
    def register(formula: Formula) -> Formula:
        def of(*args: Any, out_val: Any = None, **kwargs: Any) -> int:
            if get_raw:
                return formula(*args, **kwargs, out_val=out_val)
            return formula(*map(_shape, args), **{k: _shape(v) for k, v in kwargs.items()}, out_shape=_shape(out_val))
        for target in targets if isinstance(targets, (list, tuple)) else [targets]:
            flop_registry[target] = of
        return formula
    return register


def _shape(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape)
    return tuple(map(_shape, value)) if isinstance(value, (list, tuple)) else value


@register_flop_formula(["mm", "matmul", "bmm", "mv", "dot", "inner_product"])
def _matmul(a: Any, b: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return int(2 * math.prod(out_shape) * a[-1])


@register_flop_formula(["addmm", "baddbmm", "addmv", "addbmm"])
def _added(start: Any, a: Any, b: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return int(2 * math.prod(out_shape) * a[-1] * (a[0] if len(a) == 3 and len(out_shape) == 2 else 1))


@register_flop_formula("linear")
def _linear(x: Any, weight: Any, bias: Any = None, out_shape: Any = None) -> int:
    return int(2 * math.prod(out_shape) * weight[-1])


@register_flop_formula("bilinear")
def _bilinear(a: Any, b: Any, weight: Any, bias: Any = None, out_shape: Any = None) -> int:
    return int(2 * math.prod(out_shape) * weight[1] * (weight[2] + 1))


@register_flop_formula(["conv1d", "conv2d", "conv3d"])
def _convolution(x: Any, weight: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return int(2 * math.prod(out_shape) * math.prod(weight[1:]))


@register_flop_formula(["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"])
def _transposed(x: Any, weight: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return int(2 * math.prod(x) * math.prod(weight[1:]))


@register_flop_formula("scaled_dot_product_attention")
def _attention(q: Any, k: Any, v: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return int(2 * math.prod(q[:-1]) * k[-2] * (q[-1] + v[-1]))


@register_flop_formula("einsum")
def _einsum(equation: Any, *operands: Any, out_shape: Any = None, **kwargs: Any) -> int:
    if not isinstance(equation, str) or "." in equation:
        raise NotImplementedError("flop_counter: einsum without an equation of letters alone is not counted yet")
    shapes = operands[0] if len(operands) == 1 and operands[0] and isinstance(operands[0][0], tuple) else operands
    if len(shapes) < 2:
        return 0
    if len(shapes) > 2:
        raise NotImplementedError("flop_counter: einsum of more than two operands is not counted yet")
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    sizes = {letter: size for term, shape in zip(terms, shapes, strict=True)
             for letter, size in zip(term, shape, strict=True)}
    return int(2 * math.prod(sizes.values()))


@register_flop_formula("multi_head_attention_forward")
def _heads(q: Any, k: Any, v: Any, width: int, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    (length, batch), source = (q[0], q[1] if len(q) == 3 else 1), k[0]
    projections = 2 * batch * width * (length * q[-1] + source * k[-1] + source * v[-1] + length * width)
    return int(projections + 4 * batch * length * source * width)


def unheard_flops(module: RNNBase, output: Any, heard: int) -> int:
    """The products of one call of a recurrent layer, but for those that were `heard`: a layer that is one operation
    over the sequence has its states' products to itself."""
    out = output[0]
    rows = out.data.shape[0] if not isinstance(out, Tensor) else math.prod(out.shape[:-1])
    weights = sum(int(p.numel()) for name, p in module.named_parameters() if name.startswith("weight_"))
    return max(2 * int(rows) * weights - heard, 0)


def flops_of(func: Any, args: Any, kwargs: Any, result: Any, more: dict[Any, Formula] | None = None) -> int:
    """The operations of one heard call; 0 of what is not counted."""
    name = getattr(func, "__name__", "")
    formula = (more or {}).get(func) or flop_registry.get(func) or flop_registry.get(
        {"__matmul__": "matmul", "__rmatmul__": "matmul"}.get(name, name))
    if formula is None:
        return 0
    with quiet():
        return int(formula(*args, **(kwargs or {}), out_val=result))


class _Tracker(ModuleTracker):
    def __init__(self, owner: FlopCounterMode) -> None:
        super().__init__()
        self.owner = owner

        self.before: list[int] = []

    def entered(self, module: Module) -> None:
        if isinstance(module, RNNBase):
            self.before.append(self.owner.get_total_flops())

    def left(self, module: Module, output: Any) -> None:
        if isinstance(module, RNNBase):
            heard = self.owner.get_total_flops() - self.before.pop()
            with quiet():
                missing = unheard_flops(module, output, heard)
            self.owner.counted(f"{type(module).__name__.lower()}", missing, [*self.stack, (_name(module), module)])


def _name(module: Module) -> str:
    from facula.utils.module_tracker import _names
    return _names.get(module, type(module).__name__)


class FlopCounterMode(TorchFunctionMode):
    """Counts while it is entered.

    Args:
        mods: accepted; modules are found by themselves.
        depth: how deep into modules the table goes.
        display: print the table at the end.
        custom_mapping: formulas by function, as `register_flop_formula` with `get_raw` has them.

    Example:
        >>> import facula
        >>> from facula.utils.flop_counter import FlopCounterMode
        >>> with FlopCounterMode(display=False) as counter:
        ...     y = facula.nn.Linear(4, 8)(facula.ones(2, 4))
        >>> counter.get_total_flops(), dict(counter.get_flop_counts()["Linear"])
        (128, {'linear': 128})
    """

    def __init__(self, mods: Any = None, depth: int = 2, display: bool = True,
                 custom_mapping: dict[Any, Formula] | None = None) -> None:
        super().__init__()
        self.depth, self.display = depth, display
        self.custom_mapping = dict(custom_mapping or {})
        self._forget()

    def _forget(self) -> None:
        self.flop_counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._backward: dict[int, tuple[Any, str, int, list[str]]] = {}
        self._tracker = _Tracker(self)

    def counted(self, name: str, flops: int, stack: Iterable[tuple[str, Any]]) -> None:
        """`flops` more, of the operation `name`, in all modules of `stack`."""
        if flops:
            for place in {"Global", *(entry[0] for entry in stack)}:
                self.flop_counts[place][name] += flops

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in ("backward", "grad") and self._backward:
            self._count_backward(args, kwargs or {})
        result = func(*args, **(kwargs or {}))
        flops = flops_of(func, args, kwargs, result, self.custom_mapping)
        if flops:
            self.counted(name, flops, self._tracker.stack)
            self._expect_backward(name, flops, args, kwargs or {}, result)
        return result

    def _expect_backward(self, name: str, flops: int, args: Any, kwargs: Any, result: Any) -> None:
        with quiet():
            outputs = [r for r in (result if isinstance(result, tuple) else (result,)) if isinstance(r, Tensor)]
            operands = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
            first = 1 if name.startswith("add") or name == "baddbmm" else 0
            times = sum(a.requires_grad for a in operands[first:first + 2])
            if outputs and times and outputs[0].grad_fn is not None:
                places = [entry[0] for entry in self._tracker.stack]
                step = outputs[0].grad_fn
                self._backward[id(step)] = step, f"{name}_backward", times * flops, places

    def _count_backward(self, args: Any, kwargs: Any) -> None:
        with quiet():
            given = args[0] if args else kwargs.get("tensors", kwargs.get("outputs", ()))
            roots = given if isinstance(given, (list, tuple)) else [given]
            stack, seen = [root.grad_fn for root in roots if isinstance(root, Tensor)], set()
            while stack:
                step = stack.pop()
                if step is None or id(step) in seen:
                    continue
                seen.add(id(step))
                if id(step) in self._backward:
                    _, name, flops, places = self._backward[id(step)]
                    self.counted(name, flops, [(place, None) for place in places])
                stack.extend(parent for parent, _ in step.next_functions)

    def get_total_flops(self) -> int:
        """All that was counted."""
        return sum(self.flop_counts["Global"].values())

    def get_flop_counts(self) -> dict[str, dict[str, int]]:
        """By module ("Global" is everything) and operation."""
        return {module: dict(counts) for module, counts in self.flop_counts.items()}

    def get_table(self, depth: int | None = None) -> str:
        """By module, as text, to a depth of names."""
        depth = self.depth if depth is None else depth
        total = max(self.get_total_flops(), 1)
        rows = [("Module", "FLOP", "% Total")]
        for module in sorted(self.flop_counts, key=lambda name: (name != "Global", name)):
            level = 0 if module == "Global" else module.count(".") + 1
            if level <= depth:
                counts = self.flop_counts[module]
                rows.append((" " * level + module, _said(sum(counts.values())),
                             f"{100 * sum(counts.values()) / total:.2f}%"))
                rows += [(" " * level + " - " + name, _said(flops), f"{100 * flops / total:.2f}%")
                         for name, flops in counts.items()]
        widths = [max(len(row[k]) for row in rows) for k in range(3)]
        lines = ["  ".join((row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].rjust(widths[2]))) for row in rows]
        return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])

    def __enter__(self) -> Any:
        self._forget()
        self._tracker.__enter__()
        try:
            return super().__enter__()
        except BaseException:
            self._tracker.__exit__()
            raise

    def __exit__(self, *exc: Any) -> None:
        try:
            super().__exit__(*exc)
        finally:
            self._tracker.__exit__()
        if self.display:
            print(self.get_table(self.depth))


def _said(flops: int) -> str:
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if flops >= size:
            return f"{flops / size:.3f}{unit}"
    return str(flops)
