"""The transformer: encoder and decoder layers, stacks of them, and both together."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import facula
from facula.ops.autocast_rules import LOWERED
from facula.ops.autocasting import autocast_operands, autocasts

from .. import functional as F
from .. import init
from ._attention import MultiheadAttention
from .container import ModuleList
from .dropout import Dropout
from .linear import Linear
from .module import Module
from .normalization import LayerNorm

__all__ = ["Transformer", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder",
           "TransformerEncoderLayer"]


def _copies(module: Any, n: int) -> ModuleList:
    return ModuleList([copy.deepcopy(module) for _ in range(n)])


def _activation(activation: Any) -> Callable[..., Any]:
    if isinstance(activation, str):
        if activation not in ("relu", "gelu"):
            raise RuntimeError(f"activation should be relu/gelu, not {activation}")
        return getattr(F, activation)  # type: ignore[no-any-return]
    return activation  # type: ignore[no-any-return]


def _causal(mask: Any, is_causal: bool | None, size: int | None) -> bool:
    """Does `mask` hide the future, and nothing else?"""
    if is_causal is not None:
        return is_causal
    if mask is None or size is None or tuple(mask.shape[-2:]) != (size, size):
        return False
    return bool((mask == _future(size, mask.dtype)).all())


def _future(size: int, dtype: Any) -> Any:
    return facula.triu(facula.full((size, size), float("-inf"), dtype=dtype), diagonal=1)


class _Layer(Module):
    """The feed-forward part, which both kinds of layers have."""

    __constants__ = ["norm_first"]

    def _make(self, d_model: int, nhead: int, dim_feedforward: int, dropout: float, activation: Any, eps: float,
              norm_first: bool, bias: bool, options: dict[str, Any], norms: int) -> None:
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias, **options)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias, **options)
        self.norm_first = norm_first
        for k in range(1, norms + 1):
            setattr(self, f"norm{k}", LayerNorm(d_model, eps=eps, bias=bias, **options))
        for k in range(1, norms + 1):
            setattr(self, f"dropout{k}", Dropout(dropout))
        self.activation = _activation(activation)

    def _forward_part(self, x: Any, drop: Any) -> Any:
        return drop(self.linear2(self.dropout(self.activation(self.linear1(x)))))

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        if not hasattr(self, "activation"):
            self.activation = F.relu


class TransformerEncoderLayer(_Layer):
    """Self-attention, then two linear maps with an activation between; each is added to its input and normalized.

    Args:
        norm_first: normalize before each part instead of after.

    Example:
        >>> import facula
        >>> facula.nn.TransformerEncoderLayer(8, 2)(facula.zeros(10, 3, 8)).shape
        torch.Size([10, 3, 8])
    """

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: Any = "relu", layer_norm_eps: float = 1e-5, batch_first: bool = False,
                 norm_first: bool = False, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        options = {"device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout=dropout, bias=bias, batch_first=batch_first,
                                            **options)
        self._make(d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, norm_first, bias, options, 2)

    def forward(self, src: Any, src_mask: Any = None, src_key_padding_mask: Any = None,
                is_causal: bool = False) -> Any:
        """(L, N, E), or (N, L, E) with `batch_first`, to the same shape."""
        def attend(x: Any) -> Any:
            return self.dropout1(self.self_attn(x, x, x, attn_mask=src_mask, need_weights=False,
                                                key_padding_mask=src_key_padding_mask, is_causal=is_causal)[0])
        if self.norm_first:
            x = src + attend(self.norm1(src))
            x = x + self._forward_part(self.norm2(x), self.dropout2)
        else:
            x = self.norm1(src + attend(src))
            x = self.norm2(x + self._forward_part(x, self.dropout2))
        return autocast_operands(LOWERED, x)[0] if autocasts() and self._is_one(src) else x

    def _is_one(self, src: Any) -> bool:
        """Is the layer one operation for PyTorch?"""
        return (src.dim() == 3 and not self.training and self.self_attn.batch_first
                and self.self_attn.in_proj_bias is not None and self.self_attn.num_heads % 2 == 0
                and self.activation in (F.relu, F.gelu) and not (facula.is_grad_enabled() and (
                    src.requires_grad or any(p.requires_grad for p in self.parameters()))))


class TransformerDecoderLayer(_Layer):
    """As the encoder's layer, with attention to the encoder's output between its two parts."""

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: Any = "relu", layer_norm_eps: float = 1e-5, batch_first: bool = False,
                 norm_first: bool = False, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        options = {"device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout=dropout, batch_first=batch_first, bias=bias,
                                            **options)
        self.multihead_attn = MultiheadAttention(d_model, nhead, dropout=dropout, batch_first=batch_first, bias=bias,
                                                 **options)
        self._make(d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, norm_first, bias, options, 3)

    def forward(self, tgt: Any, memory: Any, tgt_mask: Any = None, memory_mask: Any = None,
                tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None, tgt_is_causal: bool = False,
                memory_is_causal: bool = False) -> Any:
        """The target and the encoder's output to the target's shape."""
        def itself(x: Any) -> Any:
            return self.dropout1(self.self_attn(x, x, x, attn_mask=tgt_mask, key_padding_mask=tgt_key_padding_mask,
                                                is_causal=tgt_is_causal, need_weights=False)[0])

        def across(x: Any) -> Any:
            return self.dropout2(self.multihead_attn(
                x, memory, memory, attn_mask=memory_mask, key_padding_mask=memory_key_padding_mask,
                is_causal=memory_is_causal, need_weights=False)[0])
        x = tgt
        if self.norm_first:
            x = x + itself(self.norm1(x))
            x = x + across(self.norm2(x))
            return x + self._forward_part(self.norm3(x), self.dropout3)
        x = self.norm1(x + itself(x))
        x = self.norm2(x + across(x))
        return self.norm3(x + self._forward_part(x, self.dropout3))


class TransformerEncoder(Module):
    """A stack of copies of an encoder layer, and a norm at its end."""

    __constants__ = ["norm"]

    def __init__(self, encoder_layer: Any, num_layers: int, norm: Any = None, enable_nested_tensor: bool = True,
                 mask_check: bool = True) -> None:
        super().__init__()
        self.layers = _copies(encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm
        self.enable_nested_tensor = enable_nested_tensor
        self.mask_check = mask_check

    def forward(self, src: Any, mask: Any = None, src_key_padding_mask: Any = None,
                is_causal: bool | None = None) -> Any:
        """Each layer on the one before's output."""
        batch_first = self.layers[0].self_attn.batch_first if len(self.layers) else False
        size = src.size(1 if batch_first and src.dim() == 3 else 0)
        causal = _causal(mask, is_causal, size)
        out = src
        for layer in self.layers:
            out = layer(out, src_mask=mask, is_causal=causal, src_key_padding_mask=src_key_padding_mask)
        if src_key_padding_mask is not None and mask is None and self._leaves_out_padding(src, src_key_padding_mask):
            out = out.masked_fill(src_key_padding_mask.unsqueeze(-1), 0.0)
        return out if self.norm is None else self.norm(out)


    def _leaves_out_padding(self, src: Any, padding: Any) -> bool:
        """Is this what PyTorch computes of the sequences without their padding? Then the padding's results are 0."""
        first = self.layers[0] if len(self.layers) else None
        return (self.enable_nested_tensor and isinstance(first, TransformerEncoderLayer) and not self.training
                and not first.norm_first and padding.dtype is facula.bool and first._is_one(src)
                and not (facula.is_grad_enabled() and any(p.requires_grad for p in self.parameters()))
                and (not self.mask_check or not bool((padding[:, :-1] & ~padding[:, 1:]).any())))


class TransformerDecoder(Module):
    """A stack of copies of a decoder layer, and a norm at its end."""

    __constants__ = ["norm"]

    def __init__(self, decoder_layer: Any, num_layers: int, norm: Any = None) -> None:
        super().__init__()
        self.layers = _copies(decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(self, tgt: Any, memory: Any, tgt_mask: Any = None, memory_mask: Any = None,
                tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None,
                tgt_is_causal: bool | None = None, memory_is_causal: bool = False) -> Any:
        """Each layer on the one before's output, and on `memory`."""
        batch_first = self.layers[0].self_attn.batch_first if len(self.layers) else False
        size = tgt.size(1 if batch_first and tgt.dim() == 3 else 0)
        causal = _causal(tgt_mask, tgt_is_causal, size)
        out = tgt
        for layer in self.layers:
            out = layer(out, memory, tgt_mask=tgt_mask, memory_mask=memory_mask,
                        tgt_key_padding_mask=tgt_key_padding_mask, memory_key_padding_mask=memory_key_padding_mask,
                        tgt_is_causal=causal, memory_is_causal=memory_is_causal)
        return out if self.norm is None else self.norm(out)


class Transformer(Module):
    """An encoder of the source and a decoder of the target.

    Source: Vaswani et al., "Attention is all you need", 2017.

    Example:
        >>> import facula
        >>> model = facula.nn.Transformer(8, 2, 1, 1, 16)
        >>> model(facula.zeros(10, 3, 8), facula.zeros(7, 3, 8)).shape
        torch.Size([7, 3, 8])
    """

    def __init__(self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6, num_decoder_layers: int = 6,
                 dim_feedforward: int = 2048, dropout: float = 0.1, activation: Any = "relu",
                 custom_encoder: Any = None, custom_decoder: Any = None, layer_norm_eps: float = 1e-5,
                 batch_first: bool = False, norm_first: bool = False, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__()
        options = {"device": device, "dtype": dtype}
        shape = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias)
        if custom_encoder is not None:
            self.encoder = custom_encoder
        else:
            self.encoder = TransformerEncoder(TransformerEncoderLayer(*shape, **options), num_encoder_layers,
                                              LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **options))
        if custom_decoder is not None:
            self.decoder = custom_decoder
        else:
            self.decoder = TransformerDecoder(TransformerDecoderLayer(*shape, **options), num_decoder_layers,
                                              LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **options))
        self._reset_parameters()
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first

    def _reset_parameters(self) -> None:
        for p in self.parameters():
            if p.dim() > 1:
                init.xavier_uniform_(p)

    def forward(self, src: Any, tgt: Any, src_mask: Any = None, tgt_mask: Any = None, memory_mask: Any = None,
                src_key_padding_mask: Any = None, tgt_key_padding_mask: Any = None,
                memory_key_padding_mask: Any = None, src_is_causal: bool | None = None,
                tgt_is_causal: bool | None = None, memory_is_causal: bool = False) -> Any:
        """Source and target to the target's shape."""
        batched = src.dim() == 3
        place = 0 if self.batch_first else 1
        if batched and src.size(place) != tgt.size(place):
            raise RuntimeError("the batch number of src and tgt must be equal")
        if src.size(-1) != self.d_model or tgt.size(-1) != self.d_model:
            raise RuntimeError("the feature number of src and tgt must be equal to d_model")
        memory = self.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask,
                              is_causal=src_is_causal)
        return self.decoder(tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask,
                            tgt_key_padding_mask=tgt_key_padding_mask,
                            memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=tgt_is_causal,
                            memory_is_causal=memory_is_causal)

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Any:
        """-inf above the diagonal: no position sees a later one."""
        return _future(sz, dtype or facula.get_default_dtype())
