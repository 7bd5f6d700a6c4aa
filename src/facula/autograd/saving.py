"""Hooks around what a backward pass needs: `saved_tensors_hooks`, and `save_on_cpu`, which is made of them.

A step of the tape keeps *values* (nodes). While a thread is within hooks, `handle.inferred` has an entry, and whoever
makes a step then calls `packed`, which puts a `Packed` in the place of each value. Steps that hold one are walked,
never replayed: survey.py takes no `Packed` for a value.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from facula._tensor.handle import Tensor, alias, inferred, new, strides_of
from facula._tensor.reading import kept, read, read_in
from facula.autograd import graph
from facula.autograd.graph import GradNode, Saved, mode
from facula.engine.graph.node import Node, PlacedNode
from facula.ops.elementwise.pointwise import FormulaRule
from facula.ops.listening import call_user

Hook = Callable[[Any], Any]
_AS_IT_WAS = object()  # in the place of what a hook has returned: its argument
_NODES = Node, PlacedNode


class Packed(Saved):
    """What a pack hook has made of a value. If that is the value itself, as a node: no write reaches it then."""

    __slots__ = ("object", "unpack", "bare")

    def __init__(self, saved: Any, t: Tensor, hooks: tuple[Hook, Hook]) -> None:
        self.bare = not isinstance(saved, Saved)  # the step keeps a node, and knows its place on the tape itself
        if self.bare:
            super().__init__(saved, None, None, False)
        else:
            super().__init__(saved.node, saved.edge, saved.own, saved.rg, saved.order)
        pack, self.unpack = hooks
        version = t._version  # type: ignore[attr-defined]
        made = call_user(pack, t)
        if t._version != version:  # type: ignore[attr-defined]
            raise RuntimeError("A saved tensor pack hook is modifying its input in place. Tensors provided as input to "
                               "pack hook cannot be modified by in-place operations as this can lead to unexpected "
                               "side-effects. Please open an issue if you need to perform in-place operations on the "
                               "input to a pack hook.")
        self.object = made
        if made is t:
            self.object = _AS_IT_WAS
        else:
            self.node = self.order = None

    def value(self, owner: GradNode) -> Any:
        """What the unpack hook gives."""
        given = self.object
        if given is _AS_IT_WAS:
            given = new(self.node) if self.bare else super().restore(owner)
        t = call_user(self.unpack, given)
        if not isinstance(t, Tensor):
            raise TypeError("Output of saved tensor unpack_hook expected to be a Tensor but got result of type "
                            f"{type(t).__name__}")
        return t

    def restore(self, owner: GradNode) -> Any:
        """The value again: a tensor with its place on the tape, or a node where the step kept one."""
        t = self.value(owner)
        if self.bare:
            return read(t)
        node, order = kept(t)
        return Saved(node, self.edge, self.own, self.rg, order).restore(owner)


class _Unpacking:
    """The rule of a formula for a step that holds packed values."""

    def __init__(self, rule: FormulaRule) -> None:
        self.rule, self.name = rule, rule.name

    def backward(self, step: GradNode, g: Any) -> Any:
        saved = step._saved if step._saved is not None else step.saved  # which raises: freed
        order = self.rule.order
        values = [s.value(step) for s in saved[1:]]
        return self.rule.backward(step, g, (saved[0], *[read(t) if order is None else read_in(t, order)
                                                        for t in values]))


_unpacking = functools.lru_cache(1024)(_Unpacking)  # programs may make rules (custom Functions) without end


def packed(step: GradNode, originals: Iterable[Any], outs: tuple[Any, ...]) -> None:
    """Give what `step` has saved to the hooks of this thread. `originals`: the tensor of each saved value (None: there
    is none); `outs`: what the step has given."""
    hooks = mode.hooks[-1]
    rule = step.rule
    values: list[Any] = []
    before = mode.grad
    mode.grad = False
    try:
        for saved, t in zip(step._saved, originals, strict=True):
            if not isinstance(saved, Saved) and type(saved) not in _NODES:
                values.append(saved)
                continue
            own = next((k for k, out in enumerate(outs) if out is t and t is not None), None)
            if t is None:  # a value that the rule alone has, such as the places of a pool's maxima
                t = new(saved)
            elif own is not None:  # another name for it: a hook that kept the result itself would make a circle
                t = alias(t, t.shape, strides_of(t), t._offset if t._storage is not None else 0)
                t._grad_fn, t._rg = step, True
                if own:
                    t._output_nr = own
            values.append(Packed(saved, t, hooks))
            if own is not None:
                t._grad_fn, t._rg = None, False
    finally:
        mode.grad = before
    step._saved = tuple(values)
    if type(rule) is FormulaRule and len(values) > 1:
        step.rule = _unpacking(rule)


graph.packed = packed


class disable_saved_tensors_hooks:
    """A context in which `saved_tensors_hooks` raise RuntimeError with this message."""

    def __init__(self, error_message: str) -> None:
        self.message = error_message

    def __enter__(self) -> None:
        if mode.hooks:
            raise RuntimeError(self.message)
        self.before = mode.no_hooks
        mode.no_hooks = self.message

    def __exit__(self, *what: object) -> None:
        mode.no_hooks = self.before


class saved_tensors_hooks:
    """A context in which what a backward pass needs goes through hooks.

    Of several contexts the innermost counts. What custom Functions save goes through them, too.

    Args:
        pack_hook: called with each tensor that an operation saves, at the operation, in `no_grad` mode; what it returns
            is kept. It must not write into the tensor. A tensor that it returns as it is keeps the value it has
            now; one that is kept within something else is subject to later writes.
        unpack_hook: called in the backward pass with what the other has returned; returns a tensor of the same
            shape and dtype.

    Raises:
        RuntimeError: a pack hook has written into its argument; or on entering, within `disable_saved_tensors_hooks`.
        TypeError: an unpack hook has returned no tensor.

    Example:
        >>> import facula
        >>> x = facula.tensor([1.0, 2.0], requires_grad=True)
        >>> with facula.autograd.graph.saved_tensors_hooks(lambda t: t.half(), lambda t: t.float()):
        ...     y = (x * x).sum()
        >>> y.backward()
        >>> x.grad
        tensor([2., 4.])
    """

    def __init__(self, pack_hook: Hook, unpack_hook: Hook) -> None:
        self.pack_hook = pack_hook
        self.unpack_hook = unpack_hook

    def __enter__(self) -> None:
        if mode.no_hooks is not None:
            raise RuntimeError(mode.no_hooks)
        inferred.append(saved_tensors_hooks)
        mode.hooks = (*mode.hooks, (self.pack_hook, self.unpack_hook))

    def __exit__(self, *what: object) -> None:
        mode.hooks = mode.hooks[:-1]
        inferred.remove(saved_tensors_hooks)


class save_on_cpu(saved_tensors_hooks):
    """A context in which what a backward pass needs of tensors on other devices is kept on the cpu.

    Args:
        pin_memory: keep it in pinned memory, from which it is copied back without waiting.
        device_type: accepted.

    Example:
        >>> import facula
        >>> x = facula.ones(2, requires_grad=True)
        >>> with facula.autograd.graph.save_on_cpu():
        ...     y = (x * x).sum()
        >>> y.backward()
        >>> x.grad
        tensor([2., 2.])
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        def pack(t: Any) -> Any:
            if t.device.type == "cpu":
                return t
            there = t.detach().cpu()
            return t.device, there.pin_memory() if pin_memory else there

        def unpack(kept: Any) -> Any:
            if isinstance(kept, Tensor):
                return kept
            device, there = kept
            return there.to(device, non_blocking=pin_memory)

        super().__init__(pack, unpack)
