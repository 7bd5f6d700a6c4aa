"""Recurrent layers over a whole sequence (nn/recurrent/sequence.py) against the operations of their steps."""

import numpy as np
import pytest

import facula
from facula import nn
from facula.engine.compiler import printed
from facula.nn.recurrent import sequence, unrolled
from facula.nn.utils.rnn import (
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    unpack_sequence,
)

MODES = ("LSTM", "GRU", "RNN_TANH", "RNN_RELU")
SIZES = [4, 4, 3, 1, 1]  # sequences that reach each of five steps
GATES = sequence.GATES


def drawn(mode, of=facula.float64, width=3, sizes=SIZES, biased=True):
    facula.manual_seed(len(mode))
    gates = GATES[mode] * width
    made = [facula.randn(sum(sizes), gates), facula.randn(gates, width) * 0.5,
            *[facula.randn(sizes[0], width) for _ in range(2 if mode == "LSTM" else 1)]]
    if mode == "GRU" and biased:
        made.append(facula.randn(gates))
    return [t.to(of).requires_grad_() for t in made]


def both(mode, given, reverse, sizes=SIZES):
    """(outputs and last states) as one operation, and of the steps."""
    x, w, *rest = given
    states = tuple(rest[:2 if mode == "LSTM" else 1])
    b = rest[len(states)] if rest[len(states):] else None
    out, last = sequence.run(mode, x, sizes, states, w, b, reverse)
    steps, ends = unrolled.run_packed(mode, x, sizes, states, w, b, None, reverse)
    return [out, *last], [steps, *ends]


def weighed(results):
    return sum((t * facula.arange(1.0, t.numel() + 1, dtype=t.dtype).reshape(t.shape).cos()).sum() for t in results)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_values_and_gradients_are_those_of_the_steps(mode, reverse):
    given = drawn(mode)
    mine, theirs = both(mode, given, reverse)
    for a, b in zip(mine, theirs, strict=True):
        assert a.shape == b.shape and facula.allclose(a, b, rtol=1e-12, atol=1e-12)
    gradients = [facula.autograd.grad(weighed(results), given) for results in (mine, theirs)]
    for a, b in zip(*gradients, strict=True):
        assert facula.allclose(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("mode", MODES)
def test_second_derivatives(mode):
    given = drawn(mode)
    found = []
    for results in both(mode, given, False):
        first = facula.autograd.grad(weighed(results), given, create_graph=True)
        found.append([*first, *facula.autograd.grad(sum((g * g).sum() for g in first), given)])
    for a, b in zip(*found, strict=True):
        assert facula.allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("mode", MODES)
def test_what_asks_for_no_gradient_gets_none(mode):
    given = [t.detach() for t in drawn(mode)]
    given[0].requires_grad_()
    mine, theirs = both(mode, given, False)
    for pick in (slice(0, 1), slice(1, None)):  # outputs alone, last states alone
        a, = facula.autograd.grad(weighed(mine[pick]), [given[0]], retain_graph=True)
        b, = facula.autograd.grad(weighed(theirs[pick]), [given[0]], retain_graph=True)
        assert facula.allclose(a, b, rtol=1e-11, atol=1e-11)
    assert all(t.grad is None for t in given)


def test_a_second_backward_needs_the_graph_to_be_kept():
    given = drawn("LSTM")
    mine, _ = both("LSTM", given, False)
    weighed(mine).backward(retain_graph=True)
    once = given[1].grad.clone()
    weighed(mine).backward()
    assert facula.allclose(given[1].grad, 2 * once)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        weighed(mine).backward()


@pytest.mark.parametrize("of", [facula.float32, facula.bfloat16, facula.float16])
@pytest.mark.parametrize("mode", ["LSTM", "GRU", "RNN_TANH"])
def test_other_dtypes(mode, of):
    given = drawn(mode, of)
    mine, _ = both(mode, given, False)
    grads = facula.autograd.grad(weighed(mine), given)
    wide = [t.detach().double().requires_grad_() for t in given]
    theirs, _ = both(mode, wide, False)
    off = 8 * facula.finfo(of).eps
    for a, b in zip([*mine, *grads], [*theirs, *facula.autograd.grad(weighed(theirs), wide)], strict=True):
        assert a.dtype is of
        assert float((a.double() - b).abs().max()) <= off * (1 + float(b.abs().max()))


@pytest.mark.parametrize("mode", MODES)
def test_a_layer_takes_this_way(mode, monkeypatch):
    """Whole modules, two layers in both directions, packed and not; and without it."""
    facula.manual_seed(3)
    kind = mode.partition("_")[0]
    more = {"nonlinearity": mode.partition("_")[2].lower()} if kind == "RNN" else {}
    net = getattr(nn, kind)(4, 3, 2, bidirectional=True, batch_first=True, **more).double()
    x = facula.randn(4, 5, 4, dtype=facula.float64, requires_grad=True)

    def results(given):
        out, state = net(given)
        states = state if isinstance(state, tuple) else (state,)
        found = [out.data if isinstance(out, PackedSequence) else out, *states]
        return [*found, *facula.autograd.grad(weighed(found), [x, *net.parameters()])]

    for given in (x, pack_padded_sequence(x, [5, 3, 3, 1], batch_first=True)):
        calls = []
        with monkeypatch.context() as patch:
            ran = sequence.run
            patch.setattr(sequence, "run", lambda *a, ran=ran, calls=calls: calls.append(1) or ran(*a))
            mine = results(given)
            assert len(calls) == 4
            patch.setattr(sequence, "takes", lambda *_: False)
            theirs = results(pack_padded_sequence(x, [5, 3, 3, 1], batch_first=True) if given is not x else x)
        for a, b in zip(mine, theirs, strict=True):
            assert a.shape == b.shape and facula.allclose(a, b, rtol=1e-10, atol=1e-10)


def test_transforms_go_through_the_steps():
    facula.manual_seed(0)
    net = nn.GRU(2, 3).double()
    x, v = facula.randn(6, 2, 2, dtype=facula.float64), facula.randn(6, 2, 2, dtype=facula.float64)
    _, tangent = facula.func.jvp(lambda x: net(x)[0], (x,), (v,))
    step = 1e-6
    slope = (net(x + step * v)[0] - net(x - step * v)[0]) / (2 * step)
    assert facula.allclose(tangent, slope, atol=1e-8)
    stacked = facula.func.vmap(lambda x: net(x)[0])(facula.stack([x, v]))
    assert facula.allclose(stacked, facula.stack([net(x)[0], net(v)[0]]), atol=1e-12)


def test_gradients_are_those_of_the_values_at_the_call():
    given = drawn("RNN_TANH")
    mine, theirs = both("RNN_TANH", given, False)
    wanted = facula.autograd.grad(theirs[1].sum(), given)
    with facula.no_grad():
        for t in given:
            t.mul_(2)
    for a, b in zip(facula.autograd.grad(mine[1].sum(), given), wanted, strict=True):
        assert facula.allclose(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.compiled
def test_other_lengths_print_no_kernels():
    facula.manual_seed(0)
    net = nn.LSTM(8, 16)

    def step(lengths):
        net.zero_grad()
        out, _ = net(pack_padded_sequence(facula.randn(lengths[0], len(lengths), 8), lengths))
        out.data.square().mean().backward()
        return net.weight_hh_l0.grad.sum().item()

    for lengths in ([9, 7, 6, 5, 4, 4, 2], [12, 11, 8, 8, 5, 3, 2], [20, 18, 9, 7, 5, 5, 5], [7, 6, 5, 4, 3, 3, 2]):
        step(lengths)
    before = printed.memo.printings
    for lengths in ([30, 19, 17, 12, 9, 8, 5], [25, 22, 14, 13, 9, 3, 2], [31, 4, 4, 4, 4, 3, 2]):
        step(lengths)
    assert printed.memo.printings - before <= 2


# ---- packed sequences ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [False, True])
def test_packing_and_back(batch_first):
    x = facula.arange(24.0).reshape(4, 3, 2).requires_grad_()  # (T, B, *)
    given = x.transpose(0, 1) if batch_first else x
    packed = pack_padded_sequence(given, [4, 2, 1], batch_first=batch_first)
    assert packed.batch_sizes.tolist() == [3, 2, 1, 1]
    assert packed.data.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [12, 13], [18, 19]]
    packed.data.sum().backward()
    assert x.grad.sum(2).tolist() == [[2, 2, 2], [2, 2, 0], [2, 0, 0], [2, 0, 0]]
    padded, lengths = pad_packed_sequence(packed, batch_first=batch_first, padding_value=-1.0, total_length=5)
    assert lengths.tolist() == [4, 2, 1]
    steps = padded.transpose(0, 1) if batch_first else padded
    assert steps.shape == (5, 3, 2) and steps[:, 1].tolist() == [[2, 3], [8, 9], [-1, -1], [-1, -1], [-1, -1]]
    assert steps[4].tolist() == [[-1, -1]] * 3


def test_packing_what_is_not_sorted():
    rows = [facula.tensor([1.0]), facula.tensor([2.0, 3.0, 4.0]), facula.tensor([5.0, 6.0])]
    packed = pack_sequence(rows, enforce_sorted=False)
    assert packed.data.tolist() == [2, 5, 1, 3, 6, 4] and packed.sorted_indices.tolist() == [1, 2, 0]
    assert [row.tolist() for row in unpack_sequence(packed)] == [[1], [2, 3, 4], [5, 6]]


def test_a_length_beyond_the_input_is_refused():
    with pytest.raises(RuntimeError, match="at most the 3 steps of the input, got 5"):
        pack_padded_sequence(facula.zeros(3, 2, 1), [5, 2])


def test_packing_elements_of_any_dtype():
    x = facula.tensor(np.arange(6).reshape(3, 2))
    assert pack_padded_sequence(x, [3, 1]).data.tolist() == [0, 1, 2, 4]
    assert pack_padded_sequence(x > 2, [3, 1]).data.tolist() == [False, False, False, True]


# ---- what does not fit together -----------------------------------------------------------------------------


@pytest.mark.parametrize("change", [
    lambda net: setattr(net, "weight_hh_l0", nn.Parameter(facula.zeros(12, 5))),
    lambda net: setattr(net, "weight_hh_l0", nn.Parameter(facula.zeros(8, 4))),
    lambda net: setattr(net, "weight_hh_l0", nn.Parameter(net.weight_hh_l0.double())),
    lambda net: setattr(net, "bias_hh_l0", nn.Parameter(facula.zeros(12, dtype=facula.float64))),
    lambda net: setattr(net, "bias_hh_l0", nn.Parameter(facula.zeros(7))),
], ids=["width", "gates", "weight's dtype", "bias's dtype", "bias's size"])
def test_parameters_that_do_not_fit_are_refused_or_computed_by_the_steps(change):
    """Programs of steps are given addresses: nothing may be read that is not there, or as what it is not."""
    net = nn.GRU(3, 4)
    x = facula.ones(6, 2, 3)
    change(net)
    try:
        found = net(x)[0]
    except (RuntimeError, ValueError):
        return
    with facula.no_grad():
        state, rows = (facula.zeros(2, 4),), nn.functional.linear(x, net.weight_ih_l0, net.bias_ih_l0)
        wanted, _ = unrolled.run("GRU", rows, state, net.weight_hh_l0, net.bias_hh_l0, None, False)
    assert found.dtype is wanted.dtype and facula.equal(found, wanted)


@pytest.mark.parametrize("sizes", [[2, 2, 3, 1, 2], [4, 4, 4, 4, 4], [3, 3, 3, 1, 0], [12, 1, 1, 1, -5]], ids=str)
def test_sizes_that_are_none_are_not_taken(sizes):
    x, w, h = facula.ones(10, 6), facula.ones(6, 6), facula.zeros(max(sizes[0], 1), 6)
    assert sequence.takes("RNN_TANH", x, [3, 3, 2, 1, 1], (facula.zeros(3, 6),), w, None, None)
    assert not sequence.takes("RNN_TANH", x, sizes, (h,), w, None, None)


@pytest.mark.parametrize("mode", MODES)
def test_slopes_at_nan_are_those_of_the_steps(mode):
    given = drawn(mode)
    with facula.no_grad():
        given[0][5, 0] = facula.nan
    mine, theirs = both(mode, given, False)
    a, b = (facula.autograd.grad(results[0].sum(), given[0])[0] for results in (mine, theirs))
    assert facula.equal(a.isnan(), b.isnan()) and facula.allclose(a, b, rtol=1e-11, atol=1e-11, equal_nan=True)
