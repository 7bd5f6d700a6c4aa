"""Masks that leave rows nothing to attend to: zeros and finite gradients, whatever the mask is made of."""

import math

import numpy as np
import pytest

import facula

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


def numbers(library, *shape):
    values = np.sin(np.arange(math.prod(shape), dtype="float64").reshape(shape) * 1.7)
    return library.tensor(values.tolist(), dtype=library.float64).requires_grad_()


def arrays(*tensors):
    return [t.detach().numpy().copy() for t in tensors]


def close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


def heads(library, kind, made_of, weights):
    module = library.nn.MultiheadAttention(4, 2, batch_first=True, dtype=library.float64)
    with library.no_grad():
        for p in module.parameters():
            p.copy_(numbers(library, *p.shape))
    x = numbers(library, 2, 3, 4)
    y, _ = module(x, x, x, need_weights=weights, **masks(library, kind, made_of, library.float64))
    y.square().sum().backward()
    return arrays(y, x.grad, *(p.grad for p in module.parameters()))


@pytest.mark.parametrize("made_of", ["bool", "float"])
@pytest.mark.parametrize("kind", ["attention", "padding", "both", "each head", "together"])
def test_several_heads(oracle, kind, made_of):
    found = heads(facula, kind, made_of, False)
    close(found, oracle(lambda torch: heads(torch, kind, made_of, False), kind, made_of))
    close(heads(facula, kind, made_of, True), found)  # PyTorch: NaN


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("made_of", ["bool", "float"])
def test_scaled_dot_product_attention(oracle, made_of, learned):
    if made_of == "bool" and learned:
        pytest.skip("a bool mask is not learned")

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
        x = numbers(library, 2, 3, 4)
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
