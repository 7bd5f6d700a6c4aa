"""Attention whose scores and masks are functions of positions. The masks are here, `flex_attention` is not yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import facula
from facula import absent
from facula.func import vmap

__all__ = ["AuxOutput", "AuxRequest", "BlockMask", "FlexKernelOptions", "and_masks", "create_block_mask", "create_mask",
           "flex_attention", "noop_mask", "or_masks"]

_DEFAULT_SPARSE_BLOCK_SIZE = 128  # of PyTorch's block masks; libraries import it

MaskMod = Callable[[Any, Any, Any, Any], Any]
_INSTEAD = "scaled_dot_product_attention takes the mask that create_mask makes"

AuxOutput, AuxRequest, BlockMask, FlexKernelOptions = (
    absent.kind(f"torch.nn.attention.flex_attention.{name}", _INSTEAD)
    for name in ("AuxOutput", "AuxRequest", "BlockMask", "FlexKernelOptions"))
flex_attention = absent.function("torch.nn.attention.flex_attention.flex_attention", _INSTEAD)
create_block_mask = absent.function("torch.nn.attention.flex_attention.create_block_mask", _INSTEAD)


def noop_mask(batch: Any, head: Any, token_q: Any, token_kv: Any) -> Any:
    """The mask of everything."""
    return batch.new_ones(size=(), dtype=facula.bool)


def and_masks(*mask_mods: MaskMod) -> MaskMod:
    """The mask of what all of `mask_mods` let through.

    Raises:
        RuntimeError: something given is not callable.
    """
    def mask(b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        found = b.new_ones((), dtype=facula.bool)
        for mod in mask_mods:
            found = found & mod(b, h, q_idx, kv_idx)
        return found
    return _checked(mask_mods, mask)


def or_masks(*mask_mods: MaskMod) -> MaskMod:
    """The mask of what any of `mask_mods` lets through.

    Raises:
        RuntimeError: something given is not callable.
    """
    def mask(b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        found = b.new_zeros((), dtype=facula.bool)
        for mod in mask_mods:
            found = found | mod(b, h, q_idx, kv_idx)
        return found
    return _checked(mask_mods, mask)


def _checked(mods: tuple[Any, ...], mask: MaskMod) -> MaskMod:
    if not all(map(callable, mods)):
        raise RuntimeError(f"All inputs should be callable mask_mods: {mods}")
    return mask


def create_mask(mod_fn: MaskMod, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int, device: Any = None) -> Any:
    """`mod_fn(batch, head, query, key)` of all positions, as a bool tensor (B, H, Q_LEN, KV_LEN); None counts as 1.

    Example:
        >>> from facula.nn.attention.flex_attention import create_mask
        >>> create_mask(lambda b, h, q, kv: q >= kv, None, None, 2, 3)
        tensor([[[[ True, False, False],
                  [ True,  True, False]]]])
    """
    from facula._dynamo._trace_wrapped_higher_order_op import TransformGetItemToIndex
    positions = [facula.arange(1 if n is None else n, device=device) for n in (B, H, Q_LEN, KV_LEN)]
    over: Any = mod_fn
    for place in (3, 2, 1, 0):
        over = vmap(over, in_dims=tuple([0 if k == place else None for k in range(4)]))
    with TransformGetItemToIndex():
        return over(*positions)
