"""Selective checkpointing: a policy says of each operation whether its result is kept or computed again.

The first run keeps results; the second records the operations all the same (their steps save what they save) and puts
the kept results in the place of what they give, so that what leads to them is never computed.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from facula._tensor.handle import Tensor
from facula._tensor.reading import copied, layout_of
from facula.ops import listening
from facula.ops.aten_names import COMPOSED, AtenOverload, aten, main_of, overload_of
from facula.overrides import TorchFunctionMode, resolve_name
from facula.utils._pytree import tree_leaves
from facula.utils.checkpoint import recomputing


class CheckpointPolicy(enum.Enum):
    """What selective checkpointing is to do with an operation's result."""

    MUST_SAVE = 0
    PREFER_SAVE = 1
    MUST_RECOMPUTE = 2
    PREFER_RECOMPUTE = 3
    MUST_CPU_OFFLOAD = 4


class SelectiveCheckpointContext:
    """What a policy is told beside the operation: `is_recompute`, is this the second run?"""

    def __init__(self, *, is_recompute: bool, op_output: Any = None) -> None:
        self.is_recompute = is_recompute
        self.op_output = op_output


SAC_IGNORED_OPS: set[Any] = {aten.detach.default}  # no policy is asked about these
_KEPT = (CheckpointPolicy.MUST_SAVE, CheckpointPolicy.PREFER_SAVE, CheckpointPolicy.MUST_CPU_OFFLOAD)


class _Run(TorchFunctionMode):
    """One of the two runs. `kept`: of each operation, the results by the number of the call."""

    def __init__(self, policy: Callable[..., Any], kept: dict[Any, dict[int, list[Any]]], again: bool) -> None:
        self.policy, self.kept, self.again = policy, kept, again
        self.calls: dict[Any, int] = defaultdict(int)

    def __enter__(self) -> Any:
        self.calls.clear()
        return super().__enter__()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = resolve_name(func) or ""
        if name.removeprefix("torch.") in COMPOSED:
            with _Inside(self):
                return listening.doors[id(func)].plain(*args, **kwargs)
        call = overload_of(name, args, kwargs)
        overload = None if call is None else main_of(*call)
        if overload is None or overload in SAC_IGNORED_OPS:
            return func(*args, **kwargs)
        number = self.calls[overload]
        self.calls[overload] += 1
        if not self.again:
            out = func(*args, **kwargs)
            if self._keeps(overload, out, args, kwargs):
                self.kept[overload][number] = [_value(t) for t in tree_leaves(out)]
            return out
        kept = self.kept[overload].get(number)
        if kept is None:
            return func(*args, **kwargs)
        with recomputing.given_again() as exchange:
            out = func(*args, **kwargs)
            exchange(out, kept)
        return out

    def _keeps(self, overload: AtenOverload, out: Any, args: Any, kwargs: Any) -> bool:
        says = self.policy(SelectiveCheckpointContext(is_recompute=False, op_output=out), overload, *args, **kwargs)
        if isinstance(says, bool):
            return says
        if not isinstance(says, CheckpointPolicy):
            raise TypeError(f"expected the policy to return a CheckpointPolicy or a bool, but got {says!r}")
        return says in _KEPT


class _Inside(TorchFunctionMode):
    """The same run, within an operation that is made of others: it goes on counting."""

    def __init__(self, run: _Run) -> None:
        self.run = run

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.run.__torch_function__(func, types, args, kwargs)


def _value(t: Any) -> Any:
    return copied(t, layout_of(t)) if isinstance(t, Tensor) else t


def create_selective_checkpoint_contexts(policy_fn_or_list: Any, allow_cache_entry_mutation: bool = False) -> Any:
    """The contexts of the two runs of a `checkpoint`, for its `context_fn`: some results are kept.

    Args:
        policy_fn_or_list: `policy(ctx, op, *args, **kwargs)`, asked in the first run, gives a `CheckpointPolicy` (or
            True to keep the result); or a list of the operations whose results are kept. `op` is an overload in
            `torch.ops.aten`: for a public operation that PyTorch takes apart the one that does the
            work (`aten.addmm.default` for a linear layer), with the arguments of the public call.
        allow_cache_entry_mutation: accepted: what is kept cannot be written.

    Raises:
        ValueError: something in the list is no overload.
        TypeError: neither a function nor a list; or a policy that gives something else.

    Example:
        >>> import functools
        >>> import facula
        >>> from facula.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts
        >>> layer = facula.nn.Linear(2, 2)
        >>> contexts = functools.partial(create_selective_checkpoint_contexts, [facula.ops.aten.addmm.default])
        >>> x = facula.ones(1, 2, requires_grad=True)
        >>> y = checkpoint(lambda x: layer(x).tanh().sum(), x, use_reentrant=False, context_fn=contexts)
        >>> y.backward()
        >>> x.grad.shape
        torch.Size([1, 2])
    """
    if isinstance(policy_fn_or_list, list):
        for entry in policy_fn_or_list:
            if not hasattr(entry, "_overloadname") and not hasattr(entry, "_operation"):
                raise ValueError(f"Expected op in `op_list` to be an OpOverload but got: {entry} of type "
                                 f"{type(entry)}. You may be passing a packet: name its overload (`.default`)")

        def policy(ctx: Any, op: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
            return CheckpointPolicy.MUST_SAVE if op in policy_fn_or_list else CheckpointPolicy.PREFER_RECOMPUTE
    elif callable(policy_fn_or_list):
        policy = policy_fn_or_list
    else:
        raise TypeError("policy_fn_or_list must be either a function or a list of ops.")
    kept: dict[Any, dict[int, list[Any]]] = defaultdict(dict)
    return _Run(policy, kept, False), _Run(policy, kept, True)
