"""Whether the places of a sparse tensor are what they should be: looked at when that is asked for."""

from __future__ import annotations

from typing import Any

import facula


class _State:
    checked = False


state = _State()


class check_sparse_tensor_invariants:
    """Have the places of sparse tensors looked at when these are made: in a `with`, as a decorator, or for good.

    Example:
        >>> import facula
        >>> with facula.sparse.check_sparse_tensor_invariants():
        ...     facula.sparse_coo_tensor([[5]], [1.0], (2,))
        Traceback (most recent call last):
        RuntimeError: size is inconsistent with indices: for dim 0, size is 2 but found index 5
    """

    def __init__(self, enable: bool = True) -> None:
        self.wanted, self.before = enable, [False]

    @staticmethod
    def is_enabled() -> bool:
        """Are they looked at?"""
        return state.checked

    @staticmethod
    def enable() -> None:
        """From now on."""
        state.checked = True

    @staticmethod
    def disable() -> None:
        """No more."""
        state.checked = False

    def __enter__(self) -> None:
        self.before.append(state.checked)
        state.checked = self.wanted

    def __exit__(self, *exc: object) -> None:
        state.checked = self.before.pop()

    def __call__(self, function: Any) -> Any:
        import functools

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with type(self)(self.wanted):
                return function(*args, **kwargs)
        return called


def check(i: Any, shape: Any, whole: bool) -> None:
    """RuntimeError for places outside of the shape, or (of coalesced tensors) out of order."""
    if not i.shape[1]:
        return
    for d, (least, most) in enumerate(zip(i.min(1).values.tolist(), i.max(1).values.tolist(), strict=True)):
        if least < 0:
            raise RuntimeError(f"found negative index {least} for dim {d}")
        if most >= shape[d]:
            raise RuntimeError(f"size is inconsistent with indices: for dim {d}, size is {shape[d]} but found index "
                               f"{most}")
    if whole:
        from facula.sparse._tensor import keys
        key = keys(i, tuple(shape)[:i.shape[0]])
        if not facula.all(key[1:] > key[:-1]):
            raise RuntimeError("cannot set is_coalesced to true if indices correspond to uncoalesced COO tensor")
