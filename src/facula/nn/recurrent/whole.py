"""Whole recurrent networks as functions of their weights: `torch.ops.aten.lstm`, `gru`, `rnn_tanh`, `rnn_relu`.

The modules (`nn/modules/rnn.py`) call these. What captures programs (`facula.export`) hears of the call as one
operation, others of its parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import facula
from facula._tensor.handle import is_meta
from facula.ops import aten_names, autocasting, listening
from facula.ops.autocast_rules import LOWERED

from .. import functional as F
from . import sequence, unrolled

State = tuple[Any, ...]


def _run(mode: str, x: Any, state: State, w: Any, b: Any, project: Any, reverse: bool) -> tuple[Any, State]:
    """One layer in one direction over x (T, N, gates): outputs (T, N, H) and the last state."""
    steps, count, gates = x.shape
    rows, sizes = x.reshape(steps * count, gates), [count] * steps
    if not sequence.takes(mode, rows, sizes, state, w, b, project):
        return unrolled.run(mode, x, state, w, b, project, reverse)
    out, state = sequence.run(mode, rows, sizes, state, w, b, reverse)
    return out.reshape(steps, count, out.shape[1]), state


def _run_packed(mode: str, x: Any, sizes: list[int], state: State, w: Any, b: Any, project: Any,
                reverse: bool) -> tuple[Any, State]:
    """The same over the steps of a packed sequence."""
    if not sequence.takes(mode, x, sizes, state, w, b, project):
        return unrolled.run_packed(mode, x, sizes, state, w, b, project, reverse)
    return sequence.run(mode, x, sizes, state, w, b, reverse)


def layers(mode: str, x: Any, sizes: list[int] | None, states: State, weights: list[Any], has_biases: bool,
           num_layers: int, dropout: float, train: bool, bidirectional: bool) -> tuple[Any, State]:
    """All layers over x (T, N, input), or over the rows of a packed sequence with `sizes`. `weights`: of each layer and
    direction `weight_ih`, `weight_hh`, the two biases and `weight_hr`, as far as it has them."""
    directions = 2 if bidirectional else 1
    each = len(weights) // (num_layers * directions)
    last: list[Any] = []
    # by autocast the hidden part of an LSTM is one product for PyTorch, and of other networks many
    lowers = (mode == "LSTM" and sizes is None and x.dtype in (facula.float32, facula.bfloat16)
              and autocasting.autocasts())
    for layer in range(num_layers):
        outputs = []
        for direction in range(directions):
            place = layer * directions + direction
            own = weights[place * each:(place + 1) * each]
            b, b_hidden = (own[2], own[3]) if has_biases else (None, None)
            project = own[-1] if each > (4 if has_biases else 2) else None
            part = unrolled.input_part(mode, x, own[0], b, b_hidden)
            start = [s[place] for s in states]
            hidden = own[1]
            if lowers and project is None:
                hidden, *start = autocasting.autocast_operands(LOWERED, hidden, *start)
            rest = hidden, b_hidden, project, direction == 1
            if sizes is None:
                out, state = _run(mode, part, tuple(start), *rest)
            else:
                out, state = _run_packed(mode, part, sizes, tuple(start), *rest)
            outputs.append(out)
            last.append(state)
        x = outputs[0] if directions == 1 else facula.cat(outputs, -1)
        if dropout and layer < num_layers - 1:
            x = F.dropout(x, dropout, train)
    return x, tuple([facula.stack([state[i] for state in last]) for i in range(len(states))])


def _network(mode: str) -> Callable[..., Any]:
    """The function of one kind of network."""
    name = {"LSTM": "lstm", "GRU": "gru"}.get(mode, mode.lower())

    def network(input: Any, hx: Any, params: Any, has_biases: bool, num_layers: int, dropout: float, train: bool,
                bidirectional: bool, batch_first: bool) -> Any:
        states = tuple(hx) if mode == "LSTM" else (hx,)
        if is_meta(input):
            width = states[0].shape[2] * (2 if bidirectional else 1)
            return (input.new_empty((*input.shape[:2], width)), *[s.new_empty(s.shape) for s in states])
        x = input.transpose(0, 1) if batch_first else input
        out, states = layers(mode, x, None, states, list(params), has_biases, num_layers, dropout, train, bidirectional)
        return (out.transpose(0, 1) if batch_first else out, *states)

    network.__name__ = network.__qualname__ = name
    network.__doc__ = (f"`torch.{name}`: a network of {mode.lower()} layers over `input` (T, N, features), or (N, T, "
                       "features). Gives outputs and the last states.")
    aten_names.offer(name, network)
    return network


NETWORKS = {mode: _network(mode) for mode in ("LSTM", "GRU", "RNN_TANH", "RNN_RELU")}


def called(mode: str, *args: Any) -> Any:
    """A network, as its module calls it."""
    network = NETWORKS[mode]
    modes = listening.state.modes
    if modes and not listening.state.all_off and getattr(modes[-1], "hears_networks", False):
        return listening.dispatch(network, network.__name__, [], args, {})
    return network(*args)
