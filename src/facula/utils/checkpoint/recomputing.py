"""The form of `checkpoint` with `use_reentrant=False`: by hooks around what the steps of the tape save.

The first run leaves its steps on the tape, each with a number (`_Place`) in the place of every value. The backward pass
asks for one: then the function runs again, and what its steps would save, in the same order, are the values. Each is
handed out once and dropped; the second run ends as soon as the last value is there.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary, ref

from facula._tensor.assigning import take_elements
from facula._tensor.handle import Tensor, inferred
from facula._tensor.reading import copied, kept, layout_of
from facula._tensor.tape import edge_of
from facula.autograd.graph import Saved, mode
from facula.autograd.modes import enable_grad, is_grad_enabled
from facula.autograd.saving import Packed
from facula.engine.realize import flush
from facula.engine.recorder import pending
from facula.engine.session import session
from facula.ops import autocasting
from facula.overrides import TorchFunctionMode, resolve_name
from facula.undisturbed import PutBack
from facula.utils._pytree import tree_flatten, tree_leaves
from facula.utils.checkpoint.states import Generators


class CheckpointError(RuntimeError):
    """The second run of a function did not do what the first one did."""


class _Thread(threading.local):
    values: Any = None  # of the second run under way


_now = _Thread()
_NO_STEP: Any = None  # the step that has an argument for its result: none


class _Enough(Exception):
    """All values are there."""


class _Place:
    """What a step of the first run holds: the number of a value."""

    __slots__ = ("number", "__weakref__")

    def __init__(self, number: int) -> None:
        self.number = number


class _Hooked(PutBack):
    """A context in which values go through these hooks, whatever hooks are refused otherwise."""

    def __init__(self, *hooks: Any) -> None:
        self.hooks = hooks
        self.before = mode.hooks
        self.entry: list[Any] = []

    def change(self) -> None:
        self.entry = [self]
        inferred.extend(self.entry)
        mode.hooks = (*self.before, self.hooks)

    def put_back(self) -> None:
        mode.hooks = self.before
        while self.entry:
            self.entry.clear()
            if self in inferred:
                inferred.remove(self)


class _Listing(TorchFunctionMode):
    """Writes down which operations are called."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(resolve_name(func) or repr(func))
        return func(*args, **(kwargs or {}))


class Frame:
    """A function, all that it takes to run it a second time, and what the steps of the first run have saved."""

    def __init__(self, function: Any, args: Any, kwargs: Any, keep: bool, contexts: Callable[[], tuple[Any, Any]],
                 check: str, debug: bool, early_stop: bool) -> None:
        self.function, self.check, self.early_stop = function, check, early_stop
        self.first_context, self.second_context = contexts()
        self.places: list[Any] = []  # weak references
        self.about: list[Any] = []
        # of each backward pass that is under way
        self.values: Any = WeakKeyDictionary()
        self.done = False  # the first run
        self.lists = [_Listing(), _Listing()] if debug else []
        leaves, self.spec = tree_flatten((args, kwargs))
        self.generators = Generators(leaves, keep)
        self.autocast = autocasting.thread.now
        self.leaves = [_argument(x) if is_grad_enabled() else x for x in leaves]

    def first(self, args: Any, kwargs: Any) -> Any:
        """Run, and leave steps on the tape that hold no values."""
        if not is_grad_enabled():
            return self.function(*args, **kwargs)
        with _Hooked(self._leave_place, self._value):
            with self.first_context:
                if self.lists:
                    with self.lists[0]:
                        out = self.function(*args, **kwargs)
                else:
                    out = self.function(*args, **kwargs)
        self.done = True
        return out

    def _leave_place(self, t: Any) -> _Place:
        place = _Place(len(self.places))
        self.places.append(ref(place))
        self.about.append(_about(t))
        return place

    def _value(self, place: _Place) -> Any:
        task = mode.task
        values = None if task is None else self.values.get(task)
        if values is None:
            values = self._again()
            if task is not None:
                self.values[task] = values
        try:
            return values.pop(place.number)
        except KeyError:
            raise CheckpointError(
                "torch.utils.checkpoint: Unpack is being triggered for a tensor that was already unpacked once. If you "
                "are calling ctx.saved_tensors in backward, make sure to do so only once. Otherwise please open an "
                "issue with details on your use case.") from None

    def _again(self) -> dict[int, Any]:
        """Run a second time. The values, by their numbers."""
        places = self.places
        values: dict[int, Any] = {}
        about: list[Any] = []

        def take(t: Any) -> Any:
            number = len(about)
            if number >= len(places):
                if not self.done or self.check == "none":
                    about.append(None)
                    return t
                raise self._error("trying to save more tensors during recomputation than during the original forward "
                                  "pass.")
            about.append(_about(t))
            if places[number]() is not None:
                values[number] = copied(t, layout_of(t))
            if self.early_stop and number + 1 == len(places):
                raise _Enough
            return t

        args, kwargs = self.spec.unflatten([x.restore(_NO_STEP) if isinstance(x, Saved) else x for x in self.leaves])
        if session.traced is None and pending:
            # What came before is computed, and its values are gone, before there are others: one graph of both runs
            # would hold the values of the first for the second (they are the same), and those of all parts at once.
            flush()
        lists = self.lists[1:]
        before, _now.values = _now.values, values
        for listing in lists:
            listing.names.clear()
        try:
            with self.generators.again(), enable_grad(), autocasting.region(self.autocast), \
                    _Hooked(take, lambda t: t), self.second_context:
                if lists:
                    with lists[0]:
                        self.function(*args, **kwargs)
                else:
                    self.function(*args, **kwargs)
        except _Enough:
            pass
        finally:
            _now.values = before
        if self.done:
            self._compare(about)
        return values

    def _compare(self, about: list[Any]) -> None:
        if len(about) < len(self.about):
            raise self._error("A different number of tensors was saved during the original forward and recomputation.\n"
                              f"Number of tensors saved during forward: {len(self.about)}\n"
                              f"Number of tensors saved during recomputation: {len(about)}.")
        if self.check == "none":
            return
        different = [f"tensor at position {k}:\nsaved metadata: {a}\nrecomputed metadata: {b}\n"
                     for k, (a, b) in enumerate(zip(self.about, about, strict=False)) if a != b]
        if different:
            raise self._error("Recomputed values for the following tensors have different metadata than during the "
                              "forward pass.\n" + "".join(different) + ".")

    def _error(self, what: str) -> CheckpointError:
        if self.lists:
            first, second = ("\n".join(f"  {name}" for name in listing.names) for listing in self.lists)
            tip = f"\nOperations of the forward pass:\n{first}\nOperations of the recomputation:\n{second}\n"
        else:
            tip = ("\nTip: To see a more detailed error message, either pass `debug=True` to "
                   "`torch.utils.checkpoint.checkpoint(...)` or wrap the code block with `with "
                   "torch.utils.checkpoint.set_checkpoint_debug_enabled(True):`.")
        return CheckpointError(f"torch.utils.checkpoint: {what}\n{tip}")


@contextlib.contextmanager
def given_again() -> Iterator[Callable[[Any, list[Any]], None]]:
    """Around an operation of the second run whose results are known: the function it gives puts them in the place of
    those that the operation has given, and of what its step has saved of these."""
    values: dict[int, Any] = _now.values
    before = set(values)

    def exchange(out: Any, known: list[Any]) -> None:
        for t, value in zip(tree_leaves(out), known, strict=True):
            if not isinstance(t, Tensor) or t._base is not None:  # a view computes nothing
                continue
            old = _node(t)
            take_elements(t, value)
            for number in values.keys() - before:
                if _node(values[number]) is old:
                    values[number] = copied(value, layout_of(value))

    yield exchange


def _node(t: Any) -> Any:
    return t._node if t._storage is None else t._storage.node


def _about(t: Any) -> dict[str, Any]:
    return {"shape": t.shape, "dtype": t.dtype, "device": t.device}


def _argument(x: Any) -> Any:
    """A tensor among the arguments as it is now: what is written in place later does not change the second run. Hooks
    around the call (`save_on_cpu`, another checkpoint) are given it."""
    if type(x) is not Tensor:
        return x
    edge = edge_of(x)
    node, order = kept(x)
    saved = Saved(node, edge, None, edge is not None, order)
    return Packed(saved, x, mode.hooks[-1]) if mode.hooks else saved
