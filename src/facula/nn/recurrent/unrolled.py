"""A recurrent layer as the operations of all its time steps: what a step means, and the way of everything that
`sequence.py` does not take (transforms, second derivatives, projections, other devices than the cpu)."""

from __future__ import annotations

from typing import Any

import facula

from .. import functional as F

State = tuple[Any, ...]


def _rnn_step(activation: Any, x: Any, h: State, w: Any) -> State:
    """`x` is the input's part of the gates, biases included; `h` a tuple of states."""
    return (activation(x + F.linear(h[0], w)),)


def _gru_step(x: Any, h: State, w: Any, b: Any) -> State:
    xr, xz, xn = x.chunk(3, -1)
    hr, hz, hn = F.linear(h[0], w, b).chunk(3, -1)
    r, z = (xr + hr).sigmoid(), (xz + hz).sigmoid()
    n = (xn + r * hn).tanh()
    return (n + z * (h[0] - n),)


def _lstm_step(x: Any, h: State, w: Any, project: Any = None) -> State:
    i, f, g, o = (x + F.linear(h[0], w)).chunk(4, -1)
    c = f.sigmoid() * h[1] + i.sigmoid() * g.tanh()
    out = o.sigmoid() * c.tanh()
    return (out if project is None else F.linear(out, project)), c


def input_part(mode: str, x: Any, w: Any, b: Any, b_hidden: Any) -> Any:
    """The gates' part that does not wait for the state. A GRU's hidden bias belongs inside its reset gate."""
    if mode != "GRU":
        b = b_hidden if b is None else b if b_hidden is None else b + b_hidden
    return F.linear(x, w, b)


def step(mode: str, x: Any, h: State, w: Any, b: Any, project: Any) -> State:
    """The states after one step. `b`: the hidden bias, which a GRU alone adds here."""
    if mode == "LSTM":
        return _lstm_step(x, h, w, project)
    if mode == "GRU":
        return _gru_step(x, h, w, b)
    return _rnn_step(facula.tanh if mode == "RNN_TANH" else facula.relu, x, h, w)


def run(mode: str, x: Any, state: State, w: Any, b: Any, project: Any, reverse: bool) -> tuple[Any, State]:
    """One layer in one direction over x (T, N, gates): outputs (T, N, H) and the last state."""
    outputs = []
    steps = list(x.unbind(0))
    for part in reversed(steps) if reverse else steps:
        state = step(mode, part, state, w, b, project)
        outputs.append(state[0])
    if reverse:
        outputs.reverse()
    return facula.stack(outputs), state


def run_packed(mode: str, x: Any, sizes: list[int], state: State, w: Any, b: Any, project: Any,
               reverse: bool) -> tuple[Any, State]:
    """The same over the steps of a packed sequence, x (sum of sizes, gates): fewer and fewer sequences are running."""
    steps = list(x.split(sizes))
    outputs: list[Any] = [None] * len(steps)
    done: list[State] = []  # states of sequences that have ended, the longest last
    if reverse:
        now = tuple([s[:sizes[-1]] for s in state])
        for k in range(len(steps) - 1, -1, -1):
            if sizes[k] > now[0].shape[0]:  # shorter sequences start here
                now = tuple([facula.cat([a, s[a.shape[0]:sizes[k]]]) for a, s in zip(now, state, strict=True)])
            now = step(mode, steps[k], now, w, b, project)
            outputs[k] = now[0]
        return facula.cat(outputs), now
    now = state
    for k, part in enumerate(steps):
        if sizes[k] < now[0].shape[0]:
            done.append(tuple([s[sizes[k]:] for s in now]))
            now = tuple([s[:sizes[k]] for s in now])
        now = step(mode, part, now, w, b, project)
        outputs[k] = now[0]
    ends = [now, *reversed(done)]
    return facula.cat(outputs), tuple([facula.cat([e[i] for e in ends]) for i in range(len(now))])
