"""Autocast: operations are given their operands in other dtypes than the program gave them.

`facula.amp` has what users call. A thread's settings are one immutable object, exchanged as a whole; where they
convert anything they count as a listener (listening.py), so that every public call passes its door, and hang in
`listening.state.cast`. While no thread has entered autocast nothing is asked.

What an operation is made of is its own doing: within one that has been converted for, nothing else is.
"""

from __future__ import annotations

import threading
from typing import Any

from facula._tensor.handle import Tensor, device_of, strides_of, strides_offset
from facula.autograd.graph import mode
from facula.config import threshold
from facula.dtypes import bfloat16, dtype, float16, float32
from facula.engine.graph.node import elsewhere, size_of
from facula.engine.session import session
from facula.engine.trace.kept import Kept
from facula.ops import listening
from facula.ops.autocast_rules import APART, LOWERED, SINGLED, rule_of
from facula.ops.casting import to_dtype
from facula.undisturbed import undisturbed

# Of each type of device that autocast knows the dtype of products, unless another is set.
DTYPES = {"cpu": bfloat16, "cuda": float16, "xpu": float16, "mps": float16, "mtia": float16, "ipu": float16,
          "privateuseone": float16, "hpu": bfloat16, "xla": bfloat16, "maia": bfloat16}
_CONVERTED = frozenset((float32, bfloat16, float16))


class Settings:
    """What autocast is like: of which types of devices it is on, their dtypes, whether parameters' casts are kept.

    Raises:
        TypeError: from `call`, as the operation.
    """

    __slots__ = ("enabled", "dtypes", "keeps", "to")

    def __init__(self, enabled: frozenset[str] = frozenset(), dtypes: dict[str, dtype] = DTYPES,
                 keeps: bool = True) -> None:
        self.enabled, self.dtypes, self.keeps = enabled, dtypes, keeps
        self.to = dtypes["cpu"] if "cpu" in enabled else None

    def changed(self, kind: str | None = None, enabled: bool | None = None, of: dtype | None = None,
                keeps: bool | None = None) -> Settings:
        """Others, with these changes for devices of type `kind`."""
        on, dtypes = self.enabled, self.dtypes
        if enabled is not None and kind is not None:
            on = on | {kind} if enabled else on - {kind}
        if of is not None and kind is not None:
            dtypes = {**dtypes, kind: of}
        return Settings(on, dtypes, self.keeps if keeps is None else keeps)

    def call(self, door: listening.Door, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A public call, where these settings convert."""
        try:
            rule = rules[door]
        except KeyError:
            rule = rules[door] = rule_of(door.form)
        if kwargs and kwargs.get("out") is not None:
            rule = APART
        if rule is None:
            return door.plain(*args, **kwargs)
        if type(rule) is not str:
            rule = rule(args, kwargs)
            if rule is None:
                return door.plain(*args, **kwargs)
        state = listening.state
        try:
            state.cast = None
            if rule is not APART:
                to = self._type(rule, args, kwargs)
                args = tuple([self._cast(x, to) for x in args])
                if kwargs:
                    kwargs = {name: self._cast(x, to) for name, x in kwargs.items()}
            return door.plain(*args, **kwargs)
        finally:
            state.cast = self

    def _type(self, rule: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What to convert to."""
        if rule is LOWERED:
            return self.to
        if rule is SINGLED:
            return float32
        given = [x for value in (*args, *kwargs.values()) for x in (value if type(value) in _LISTS else (value,))]
        kinds = {x.dtype for x in given if isinstance(x, Tensor)} & _CONVERTED
        return next(iter(kinds)) if len(kinds) == 1 else float32

    def _cast(self, x: Any, to: Any) -> Any:
        if isinstance(x, Tensor):
            of = x.dtype
            if of is to or of not in _CONVERTED or elsewhere and device_of(x).type != "cpu":
                return x
            if of is float32 and self.keeps and x._rg and x._grad_fn is None and x._base is None:
                return _kept(x, to)
            return to_dtype(x, to)
        if type(x) in _LISTS:
            return type(x)([self._cast(part, to) for part in x])
        return x


def autocasts() -> bool:
    """Does autocast convert what the running operation is made of?"""
    return listening.state.cast is not None


def autocast_operands(rule: str, *values: Any) -> Any:
    """Within an operation that is made of others in PyTorch, and not here: what one of those with this rule
    (autocast_rules.py) would have been given in place of these values."""
    now = listening.state.cast
    if now is None:
        return values
    to = now._type(rule, values, {})
    return tuple([now._cast(x, to) for x in values])


_LISTS = frozenset((list, tuple))
rules: dict[listening.Door, Any] = {}


class _Thread(threading.local):
    def __init__(self) -> None:
        self.now = Settings()
        self.before: list[Settings] = []  # of the regions that have been entered
        self.depth = 0
        self.listens = False
        self.kept: Kept | None = None  # casts, made for the first one in a region


thread = _Thread()
_MOST = threshold("autocast_bytes")


class _Cast:
    """A leaf, what it was like when it was converted, and what it became. All of it lives as long as this is kept."""

    __slots__ = ("leaf", "state", "made", "weight", "used")

    def __init__(self, leaf: Tensor, state: tuple[Any, ...], made: Tensor) -> None:
        self.leaf, self.state, self.made, self.used = leaf, state, made, False
        self.weight = size_of(made.shape) * (leaf.dtype.itemsize + made.dtype.itemsize)


def _kept(leaf: Tensor, to: dtype) -> Tensor:
    """A parameter converted, once in a region: so gradients of all its uses are added up before they are converted
    back. Not what was converted before the parameter was written, nor without a tape where there is one now."""
    storage = leaf._storage
    if session.traced is not None or storage is not None and storage.shared:
        return to_dtype(leaf, to)
    # Not an address and a version: other memory may have both. The value itself, and how the leaf lies over it.
    state = to, leaf._node or storage.node, leaf.shape, strides_of(leaf), strides_offset(leaf)
    kept, key = thread.kept, (id(leaf),)
    if kept is None:
        kept = thread.kept = Kept(_MOST, 0)
    found = kept.get(key)
    if found is not None and found.leaf is leaf and found.state == state and (found.made._rg or not mode.grad):
        found.used = True
        return found.made  # type: ignore[no-any-return]
    made = to_dtype(leaf, to)
    kept.keep(key, _Cast(leaf, state, made))
    return made


# An interrupt may come before or after what the following functions do, not in between: they call nothing until then.

@undisturbed
def hold(now: Settings) -> None:
    """Have these settings in this thread."""
    thread.now = now
    if (now.to is not None) is not thread.listens:
        thread.listens = not thread.listens
        listening.ears.count += 1 if thread.listens else -1
    listening.state.cast = None if now.to is None else now
    listening.look_again()


@undisturbed
def enter(now: Settings) -> None:
    """Have these settings until `leave`."""
    thread.before += [thread.now]
    thread.depth += 1
    hold(now)


@undisturbed
def leave() -> None:
    """Have the settings again that were there before `enter`."""
    before = thread.before
    now = before[-1]
    del before[-1:]
    thread.depth -= 1
    kept = thread.kept  # noqa: F841  it goes when all is put back: what goes may have a `__del__`
    if not thread.depth:
        thread.kept = None
    hold(now)


class Region:
    """A context in which `settings()` hold."""

    now: Settings

    def settings(self) -> Settings:
        return self.now

    def __enter__(self) -> Any:
        now, depth = self.settings(), thread.depth
        try:
            enter(now)
        except BaseException:
            if thread.depth > depth:
                leave()
            raise
        return self

    @undisturbed
    def __exit__(self, *exc: object) -> None:
        leave()


def region(now: Settings) -> Region:
    """A context in which these settings hold."""
    made = Region()
    made.now = now
    return made
