"""`torch.nn.attention.bias`: causal masks that say what they are, instead of having elements."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import facula
from facula import errors
from facula.nn.functional.attention import scaled_dot_product_attention

__all__ = ["CausalBias", "CausalVariant", "causal_lower_right", "causal_upper_left"]


class CausalVariant(IntEnum):
    """Which corner of a mask that is not square the diagonal goes through.

    `UPPER_LEFT`: query i may attend to keys up to i, as with `is_causal=True`.
    `LOWER_RIGHT`: to keys up to i + seq_len_kv - seq_len_q, so that the last query sees all (decoding with a cache).
    """

    UPPER_LEFT = 1
    LOWER_RIGHT = 2


class CausalBias(facula.Tensor):
    """A causal mask (seq_len_q, seq_len_kv) for `scaled_dot_product_attention(..., attn_mask=...)`.

    It has no elements of its own: `_materialize()` gives the bool tensor, True where a query may attend to a key.

    Raises:
        AssertionError: `variant` is no CausalVariant.

    Example:
        >>> from facula.nn.attention.bias import causal_lower_right
        >>> causal_lower_right(2, 3)
        tensor([[ True,  True, False],
                [ True,  True,  True]])
    """

    variant: CausalVariant
    seq_len_q: int
    seq_len_kv: int

    def __new__(cls, variant: CausalVariant, seq_len_q: int, seq_len_kv: int) -> CausalBias:
        if not isinstance(variant, CausalVariant):
            raise AssertionError(f"variant must be a CausalVariant, got {type(variant).__name__}")
        self: CausalBias = facula.empty(variant, seq_len_q, seq_len_kv).as_subclass(cls)  # of torch's shape
        self.variant, self.seq_len_q, self.seq_len_kv = variant, seq_len_q, seq_len_kv
        if variant is CausalVariant.LOWER_RIGHT and seq_len_q > seq_len_kv:
            errors.warn("Lower right causal bias will produce NaNs in the output when seq_len_q > seq_len_kv!")
        return self

    def __init__(self, variant: CausalVariant, seq_len_q: int, seq_len_kv: int) -> None:
        """Everything is done by `__new__`."""

    def _materialize(self, device: Any = None) -> Any:
        """The mask as a bool tensor."""
        shift = self.seq_len_kv - self.seq_len_q if self.variant is CausalVariant.LOWER_RIGHT else 0
        return facula.ones(self.seq_len_q, self.seq_len_kv, dtype=facula.bool, device=device).tril(shift)

    def __repr__(self, **kwargs: Any) -> str:
        return repr(self._materialize())

    __str__ = __repr__

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        if getattr(func, "__name__", "") not in _ASKED:
            raise NotImplementedError(f"CausalBias.{getattr(func, '__name__', func)}: it is a mask for "
                                      "scaled_dot_product_attention and has no elements; _materialize() gives them")
        with facula._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)


_ASKED = ("__get__", "dim", "size", "numel", "stride", "is_floating_point", "requires_grad_")  # what needs no elements


def _attention(query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
               scale: float | None = None, enable_gqa: bool = False) -> Any:
    """Attention with a CausalBias. ValueError if `is_causal` is said too."""
    if is_causal:
        raise ValueError("CausalBias should not be used with causal=True")
    if attn_mask.variant is CausalVariant.UPPER_LEFT or attn_mask.seq_len_q == attn_mask.seq_len_kv:
        mask, is_causal = None, True
    else:
        mask = attn_mask._materialize(query.device)
    return scaled_dot_product_attention(query, key, value, mask, dropout_p, is_causal, scale, enable_gqa)


def causal_upper_left(*size: int) -> CausalBias:
    """The causal mask of shape `size` whose diagonal begins at the upper left corner.

    Raises:
        AssertionError: not two sizes.

    Example:
        >>> from facula.nn.attention.bias import causal_upper_left
        >>> causal_upper_left(2, 3)
        tensor([[ True, False, False],
                [ True,  True, False]])
    """
    return _made("causal_upper_left", CausalVariant.UPPER_LEFT, size)


def causal_lower_right(*size: int) -> CausalBias:
    """The causal mask of shape `size` whose diagonal ends at the lower right corner.

    Raises:
        AssertionError: not two sizes.
    """
    return _made("causal_lower_right", CausalVariant.LOWER_RIGHT, size)


def _made(name: str, variant: CausalVariant, size: tuple[int, ...]) -> CausalBias:
    if len(size) != 2:
        raise AssertionError(f"{name} only supports 2D tensors")
    return CausalBias(variant, *size)
