"""A recurrent layer over a whole sequence as one operation.

Its time steps are run by `loops.py`, whatever the lengths: batches of other lengths run on programs that are there.
The gradient of the weight is one product over all steps. Second derivatives go through the steps' own operations.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

import facula
from facula._tensor.handle import Tensor, device_of, new
from facula._tensor.reading import read
from facula._tensor.tape import attach_many
from facula.autograd.graph import Rule
from facula.autograd.graph import mode as grad_mode
from facula.devices import CPU
from facula.dtypes import bfloat16, dtype, float16, float32, float64, int64
from facula.engine.graph.node import CALL, PICK
from facula.engine.realize import leaf
from facula.engine.recorder import record
from facula.engine.session import session
from facula.size import Size

from . import loops, unrolled
from .cells import GATES

assert loops  # its routines are found by name
# Steps at the end in which no sequence runs make their number a multiple of this: so batches of as many elements but of
# another longest sequence are the same graph.
IDLE_STEPS = 16
FEW = 3  # steps which are recorded one by one: so they are fused with what comes before and after
_DTYPES = frozenset((float32, float64, float16, bfloat16))
_NAMES = {"LSTM": "LstmBackward0", "GRU": "GruBackward0", "RNN_TANH": "RnnTanhBackward0",
          "RNN_RELU": "RnnReluBackward0"}


def takes(mode: str, x: Any, sizes: list[int], state: tuple[Any, ...], w: Any, b: Any, project: Any) -> bool:
    """Is this a sequence for `run`? What does not fit together (a weight of another size or dtype, sizes that grow) is
    not: the steps' operations say what is wrong with it. `loops.py` computes with addresses, and trusts what comes."""
    if len(sizes) <= FEW or project is not None or session.traced is not None or x.dtype not in _DTYPES \
            or grad_mode.products is not None:
        return False
    given = [x, w, *state, *([] if b is None else [b])]
    if any(t.dtype is not x.dtype or device_of(t) is not CPU for t in given) or w.dim() != 2:
        return False
    gates, width = w.shape
    return bool(gates == GATES[mode] * width and tuple(x.shape) == (sum(sizes), gates) and sizes[-1] > 0 and gates
            and all(a >= b for a, b in pairwise(sizes)) and all(tuple(s.shape) == (sizes[0], width) for s in state)
            and (b is None or tuple(b.shape) == (gates,)))


def run(mode: str, x: Any, sizes: list[int], state: tuple[Any, ...], w: Any, b: Any,
        reverse: bool) -> tuple[Any, tuple[Any, ...]]:
    """As `unrolled.run_packed`: x (sum of sizes, gates) to outputs (sum of sizes, width) and the last states."""
    n, width, of = x.shape[0], w.shape[1], x.dtype
    steps = np.zeros(-(-len(sizes) // IDLE_STEPS) * IDLE_STEPS, np.int64)
    steps[:len(sizes)] = sizes
    running = new(leaf(steps, steps.shape, int64))
    biases = (b,) if mode == "GRU" and b is not None else ()
    inputs = (x, w, *state, *biases)
    keep = grad_mode.grad and any(t.requires_grad for t in inputs)
    call = _call("recurrence", (x, w, running, *state, *biases), (mode, reverse, keep), of)
    wide = of if of is float64 else float32  # what is kept is not rounded
    out = _pick(call, 0, (n, width), of)
    last = [_pick(call, 1 + k, s.shape, of) for k, s in enumerate(state)]
    if not keep:
        return out, tuple(last)
    at = 1 + len(state)
    kept = [_pick(call, at, (n, width), wide)]
    if mode == "LSTM":
        kept += [_pick(call, at + 1, x.shape, wide), _pick(call, at + 2, (n, width), wide)]
    elif mode == "GRU":
        kept.append(_pick(call, at + 1, x.shape, wide))
    attach_many((out, *last), _RULES[mode], inputs, (mode, reverse, running, len(state), ("out", 0), *inputs, *kept))
    return out, tuple(last)


def _call(routine: str, inputs: tuple[Any, ...], args: tuple[Any, ...], of: dtype) -> Any:
    return record(CALL, tuple([read(t) for t in inputs]), (routine, *args), None, Size(), of)


def _pick(call: Any, k: int, shape: tuple[int, ...], of: dtype) -> Tensor:
    return new(record(PICK, (call,), (k,), None, Size(shape), of))


def _backward(ctx: Any, g: Any, *states: Any) -> tuple[Any, ...]:
    kind, reverse, running, count, out, *rest = ctx.saved
    inputs, kept = rest[:len(ctx.edges)], rest[len(ctx.edges):]
    x, w, *before = inputs
    if grad_mode.grad:
        return _through_steps(ctx, kind, reverse, [n for n in running.tolist() if n], inputs, count, (g, *states))
    of = x.dtype
    g = facula.zeros(out.shape, dtype=of) if g is None else g
    given = [facula.zeros(s.shape, dtype=of) if d is None else d for d, s in zip(states, before, strict=False)]
    if kind == "GRU":
        kept.insert(1, x)
    elif kind != "LSTM":
        kept.append(out)
    call = _call("recurrence_backward", (w, running, g, *given, *kept), (kind, reverse), of)
    found = [_pick(call, k, s.shape, of) for k, s in enumerate(given)]
    wide = kept[0].dtype
    dx = _pick(call, count, x.shape, wide)
    dz = _pick(call, count + 1, x.shape, wide) if kind == "GRU" else dx
    dw = (dz.t() @ kept[0]).to(of) if ctx.needs[1] else None
    grads = [dx.to(of), dw, *found]
    if len(inputs) > 2 + count:
        grads.append(dz.sum(0).to(of))
    return tuple([d if need else None for d, need in zip(grads, ctx.needs, strict=True)])


def _through_steps(ctx: Any, kind: str, reverse: bool, sizes: list[int], inputs: list[Any], count: int,
                   given: tuple[Any, ...]) -> tuple[Any, ...]:
    """The gradients as results of the steps' own operations, which can be differentiated again."""
    ours = [t.view_as(t) for t in inputs]  # where they come from is others' affair
    x, w, *rest = ours
    out, last = unrolled.run_packed(kind, x, sizes, tuple(rest[:count]), w, rest[count] if rest[count:] else None, None,
                                    reverse)
    pairs = [(t, d) for t, d in zip((out, *last), given, strict=True) if d is not None and t.requires_grad]
    wanted = [t for t, need in zip(ours, ctx.needs, strict=True) if need]
    if not pairs:
        return (None,) * len(ours)
    found = iter(facula.autograd.grad([t for t, _ in pairs], wanted, [d for _, d in pairs], create_graph=True,
                                      allow_unused=True))
    return tuple([next(found) if need else None for need in ctx.needs])


_RULES = {mode: Rule(_NAMES[mode], _backward) for mode in GATES}
