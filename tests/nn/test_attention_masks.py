"""Masks that leave rows nothing to attend to: zeros and finite gradients, whatever the mask is made of."""

import functools
import math

import numpy as np
import pytest

import facula
import nn_oracle
from nn_oracle import arrays, numbers

ATTENTION = [[0, 0, 1], [1, 1, 1], [0, 1, 0]]  # 1: may not attend


def masks(library, kind, made_of, dtype):
    attention, padding = library.tensor(ATTENTION).bool(), library.tensor([[0, 0, 0], [0, 1, 1]]).bool()
    if kind == "padding":
        padding = library.tensor([[0, 0, 0], [1, 1, 1]]).bool()
    if kind == "each head":
        attention = attention.expand(4, 3, 3).clone()
        attention[0] = True
    if kind == "together":  # neither of the two leaves nothing, both do
        attention, padding = library.tensor([[0, 0, 1], [1, 0, 0], [0, 1, 0]]).bool(), library.tensor(
            [[0, 0, 0], [0, 1, 1]]).bool()
    if made_of == "float":
        attention, padding = (library.zeros(m.shape, dtype=dtype).masked_fill(m, -math.inf)
                              for m in (attention, padding))
    options = {}
    if kind != "padding":
        options["attn_mask"] = attention
    if kind in ("padding", "both", "together"):
        options["key_padding_mask"] = padding
    return options


close = functools.partial(nn_oracle.close, rtol=1e-8, atol=1e-10)


def heads(library, kind, made_of, weights):
    module = library.nn.MultiheadAttention(4, 2, batch_first=True, dtype=library.float64)
    with library.no_grad():
        for p in module.parameters():
            p.copy_(numbers(library, *p.shape))
    x = numbers(library, 2, 3, 4).requires_grad_()
    y, _ = module(x, x, x, need_weights=weights, **masks(library, kind, made_of, library.float64))
    y.square().sum().backward()
    return arrays(y, x.grad, *(p.grad for p in module.parameters()))


@pytest.mark.parametrize("made_of", ["bool", "float"])
@pytest.mark.parametrize("kind", ["attention", "padding", "both", "each head", "together"])
def test_several_heads(oracle, kind, made_of):
    found = heads(facula, kind, made_of, False)
    close(found, oracle(lambda torch: heads(torch, kind, made_of, False), kind, made_of))
    close(heads(facula, kind, made_of, True), found)  # PyTorch: NaN


@pytest.mark.parametrize("made_of, learned", [("bool", False), ("float", False), ("float", True)])
def test_scaled_dot_product_attention(oracle, made_of, learned):
    def found(library):
        q, k, v = (numbers(library, 2, 2, 3, 4).mul(f).detach().requires_grad_() for f in (1, 2, 3))
        forbidden = library.tensor(ATTENTION).bool()
        if made_of == "float":
            mask = library.full((3, 3), 0.5, dtype=library.float64).masked_fill(forbidden, -math.inf)
            mask.requires_grad_(learned)
        else:
            mask = ~forbidden
        y = library.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        y.square().sum().backward()
        return arrays(y, q.grad, k.grad, v.grad, *([mask.grad] if learned else []))

    ours = found(facula)
    assert (ours[0][:, :, 1] == 0).all() and all(np.isfinite(a).all() for a in ours)
    close(ours, oracle(found, made_of, learned))


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("cls", ["TransformerEncoderLayer", "TransformerDecoderLayer"])
def test_layers_with_a_sequence_that_is_all_padding(oracle, cls, training, norm_first):
    def found(library):
        layer = getattr(library.nn, cls)(4, 2, 8, dropout=0.0, batch_first=True, norm_first=norm_first,
                                         dtype=library.float64).train(training)
        with library.no_grad():
            for p in layer.parameters():
                p.copy_(numbers(library, *p.shape))
        x = numbers(library, 2, 3, 4).requires_grad_()
        padding = library.tensor([[False, False, True], [True, True, True]])
        if cls == "TransformerEncoderLayer":
            y = layer(x, src_key_padding_mask=padding)
        else:
            y = layer(x, x, tgt_key_padding_mask=padding, memory_key_padding_mask=padding)
        y.square().sum().backward()
        return arrays(y, x.grad, *(p.grad for p in layer.parameters()))

    ours = found(facula)
    assert all(np.isfinite(a).all() for a in ours)
    close(ours, oracle(found, cls, training, norm_first))


def test_a_mask_and_the_past():
    q, k, v = (numbers(facula, 2, 2, 3, 4).mul(f).detach() for f in (1, 2, 3))
    attend = facula.nn.functional.scaled_dot_product_attention
    mask = facula.tensor([[True, False, True]])
    both = attend(q, k, v, attn_mask=mask & facula.ones(3, 3, dtype=facula.bool).tril())
    close([attend(q, k, v, attn_mask=mask, is_causal=True).numpy()], [both.numpy()])
    added = facula.zeros(3, dtype=q.dtype).masked_fill(~mask[0], -math.inf)[None]
    close([attend(q, k, v, attn_mask=added, is_causal=True).numpy()], [both.numpy()])
    assert both[:, :, 1].tolist() == v[:, :, 0].tolist()


@pytest.mark.parametrize("change, words", [
    ({"attn_mask": facula.ones(3, 3), "is_causal": True, "dropout_p": 0.5}, "should not be set when is_causal=True"),
    ({"attn_mask": facula.ones(3, 3, dtype=facula.int32)}, "Expected attn_mask dtype to be bool or float .* int and"),
    ({"attn_mask": facula.ones(3, 3, dtype=facula.float16)}, "c10::Half and"),
    ({"attn_mask": facula.ones(2, 2, 3, 3).bool()}, r"output with shape \[2, 3, 3\] doesn't match the broadcast shape"),
    ({"dropout_p": 1.5}, "between 0 and 1, but got 1.5"),
    ({"query": facula.ones(4)}, "at least 2 dimensional"),
    ({"key": facula.ones(2, 3, 4).double()}, "query.dtype: float key.dtype: double and value.dtype: float"),
    ({"key": facula.ones(3, 3, 4), "enable_gqa": True}, "must divide the number of heads in query"),
])
def test_arguments_that_make_no_sense(change, words):
    given = {name: facula.ones(2, 3, 4) for name in ("query", "key", "value")} | change
    with pytest.raises(RuntimeError, match=words):
        facula.nn.functional.scaled_dot_product_attention(**given)


def test_paddings_of_another_shape():
    x = facula.ones(3, 2, 4)
    for shape, words in (((2, 4), r"shape\[1\] to be 3, but got 4"), ((3, 3), r"shape\[0\] to be 2, but got 3")):
        with pytest.raises(AssertionError, match=words):
            facula.nn.MultiheadAttention(4, 2)(x, x, x, key_padding_mask=facula.zeros(shape, dtype=facula.bool))


def test_an_evaluated_encoder_gives_zeros_for_padding():
    layer = facula.nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    x, padding = facula.rand(2, 3, 4), facula.tensor([[False, False, True], [False, True, True]])
    for norm in (None, facula.nn.LayerNorm(4)):
        encoder = facula.nn.TransformerEncoder(layer, 2, norm).eval()
        assert encoder(x, src_key_padding_mask=padding)[padding].abs().min() > 0  # it is being recorded
        with facula.no_grad():
            y = encoder(x, src_key_padding_mask=padding)
            assert y[padding].tolist() == [[0.0] * 4] * 3
            assert y[~padding].abs().min() > 0
            encoder.enable_nested_tensor = False
            z = encoder(x, src_key_padding_mask=padding)
        assert z[padding].abs().min() > 0
        close([y[~padding].numpy()], [z[~padding].numpy()])
