"""Recurrent networks as functions of their weights: `torch.lstm`, `torch.gru_cell` and their kin."""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor

from . import unrolled, whole
from .cells import GATES


def _network(mode: str, given: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """(outputs, last states) of torch's two lists of arguments: with `batch_first`, or packed with `batch_sizes`."""
    if len(given) != 9:
        raise TypeError(f"{_NAMES[mode]}() takes 9 arguments: (input, hx, params, has_biases, num_layers, dropout, "
                        "train, bidirectional, batch_first) or (data, batch_sizes, hx, params, has_biases, num_layers, "
                        f"dropout, train, bidirectional), but got {len(given)}")
    packed = isinstance(given[1], Tensor) and not isinstance(given[3], bool)
    if packed:
        x, batch_sizes, hx, params, biased, count, dropout, train, both = given
        first = False
    else:
        x, hx, params, biased, count, dropout, train, both, first = given
    states = tuple(hx) if mode == "LSTM" else (hx,)
    if mode == "LSTM" and len(states) != 2:
        raise RuntimeError("lstm expects two hidden states")
    directions = 2 if both else 1
    count_in = int(batch_sizes[0]) if packed else x.size(0 if first else 1)
    for state in states:
        if state.dim() != 3 or state.size(1) != count_in or state.size(0) != count * directions:
            raise RuntimeError(f"{_NAMES[mode]}: expected states (layers * directions, N, H), which are "
                               f"({count * directions}, {count_in}, H) here, but got {tuple(state.shape)}")
    each = len(params) // (count * directions)
    plain = 4 if biased else 2
    if len(params) != each * count * directions or each not in (plain, plain + (mode == "LSTM")):
        raise RuntimeError(f"{_NAMES[mode]}: got an incorrect number of RNN parameters: {len(params)} for {count} "
                           f"layers of {directions} direction(s)")
    if packed:
        sizes = [int(n) for n in batch_sizes.tolist()]
        return whole.layers(mode, x, sizes, states, list(params), biased, count, dropout, train, both)
    out, *last = whole.called(mode, x, hx, params, biased, count, dropout, train, both, first)
    return out, tuple(last)


_NAMES = {"LSTM": "lstm", "GRU": "gru", "RNN_TANH": "rnn_tanh", "RNN_RELU": "rnn_relu"}


def lstm(*args: Any) -> tuple[Any, Any, Any]:
    """An LSTM: (outputs, last states, last cells), with `lstm(input, (h, c), params, has_biases, num_layers, dropout,
    train, bidirectional, batch_first)` or `lstm(data, batch_sizes, (h, c), params, has_biases, num_layers, dropout,
    train, bidirectional)`.

    input is (T, N, features) or (N, T, features) if batch_first; h and c (layers * directions, N, H); params the
    weights of `nn.LSTM.all_weights` one after the other.

    Raises:
        RuntimeError: another number of states or weights than the layers have.

    Example:
        >>> import facula
        >>> net, x = facula.nn.LSTM(2, 3), facula.ones(4, 1, 2)
        >>> zero = facula.zeros(1, 1, 3)
        >>> out, h, c = facula.lstm(x, (zero, zero), net.all_weights[0], True, 1, 0.0, False, False, False)
        >>> bool((out == net(x)[0]).all()), h.shape
        (True, torch.Size([1, 1, 3]))
    """
    out, (h, c) = _network("LSTM", args)
    return out, h, c


def gru(*args: Any) -> tuple[Any, Any]:
    """A GRU: (outputs, last states), of the arguments of `lstm` with one tensor for the states."""
    out, (h,) = _network("GRU", args)
    return out, h


def rnn_tanh(*args: Any) -> tuple[Any, Any]:
    """A network of tanh: (outputs, last states), of the arguments of `gru`."""
    out, (h,) = _network("RNN_TANH", args)
    return out, h


def rnn_relu(*args: Any) -> tuple[Any, Any]:
    """A network of relu: (outputs, last states), of the arguments of `gru`."""
    out, (h,) = _network("RNN_RELU", args)
    return out, h


def _cell(mode: str, input: Any, states: tuple[Any, ...], w_ih: Any, w_hh: Any, b_ih: Any,
          b_hh: Any) -> tuple[Any, ...]:
    if input.dim() != 2 or any(s.dim() != 2 for s in states):
        raise RuntimeError(f"{mode.lower()}_cell: expected an input (N, features) and states (N, H), got "
                           f"{[tuple(t.shape) for t in (input, *states)]}")
    if input.size(1) != w_ih.size(1):
        raise RuntimeError(f"input has inconsistent input_size: got {input.size(1)} expected {w_ih.size(1)}")
    for k, state in enumerate(states):
        if state.size(0) != input.size(0):
            raise RuntimeError(f"Input batch size {input.size(0)} doesn't match hidden{k} batch size {state.size(0)}")
        if state.size(1) * GATES[mode] != w_hh.size(0):
            raise RuntimeError(f"hidden{k} has inconsistent hidden_size: got {state.size(1)}, expected "
                               f"{w_hh.size(0) // GATES[mode]}")
    return unrolled.step(mode, unrolled.input_part(mode, input, w_ih, b_ih, b_hh), states, w_hh, b_hh, None)


def lstm_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> tuple[Any, Any]:
    """One step of an LSTM: input (N, features) and states (h, c), each (N, H), to the new (h, c)."""
    h, c = _cell("LSTM", input, tuple(hx), w_ih, w_hh, b_ih, b_hh)
    return h, c


def gru_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """One step of a GRU: input (N, features) and state (N, H), to the new state."""
    return _cell("GRU", input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


def rnn_tanh_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """One step of a network of tanh: input (N, features) and state (N, H), to the new state."""
    return _cell("RNN_TANH", input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


def rnn_relu_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """One step of a network of relu: input (N, features) and state (N, H), to the new state."""
    return _cell("RNN_RELU", input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]
