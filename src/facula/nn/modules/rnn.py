"""Recurrent networks: RNN, LSTM and GRU, over whole sequences or a step at a time."""

from __future__ import annotations

import math
from typing import Any

import facula
from facula.errors import warn
from facula.ops import autocasting

from .. import init
from ..parameter import Parameter
from ..recurrent import unrolled, whole
from ..recurrent.cells import GATES
from ..utils.rnn import PackedSequence
from ._printing import options_text
from .module import Module

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNBase", "RNNCell", "RNNCellBase"]

# ---- whole sequences ----------------------------------------------------------------------------------------

class RNNBase(Module):
    """What RNN, LSTM and GRU have in common.

    Parameters are named as PyTorch names them: `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`,
    `weight_hr_l0` of a projection, `_reverse` for the backward direction.
    """

    __constants__ = ["mode", "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout",
                     "bidirectional", "proj_size"]

    def __init__(self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1:
            raise ValueError("dropout should be a number in range [0, 1] representing the probability of an element "
                             "being zeroed")
        if dropout > 0 and num_layers == 1:
            warn("dropout option adds dropout after all but last recurrent layer, so non-zero dropout "
                 f"expects num_layers greater than 1, but got dropout={dropout} and "
                 f"num_layers={num_layers}")
        if not isinstance(hidden_size, int):
            raise TypeError(f"hidden_size should be of type int, got: {type(hidden_size).__name__}")
        for name, flag in (("bias", bias), ("batch_first", batch_first)):
            if not isinstance(flag, bool):
                raise TypeError(f"{name} should be of type bool, got: {type(flag).__name__}")
        if input_size <= 0:
            raise ValueError("input_size must be greater than zero")
        if hidden_size <= 0:
            raise ValueError("hidden_size must be greater than zero")
        if num_layers <= 0:
            raise ValueError("num_layers must be greater than zero")
        if proj_size < 0:
            raise ValueError("proj_size should be a positive integer or zero to disable projections")
        if proj_size >= hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")
        if mode not in GATES:
            raise ValueError(f"Unrecognized RNN mode: {mode}")
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        directions = 2 if bidirectional else 1
        out = proj_size or hidden_size
        gates = GATES[mode] * hidden_size
        self._flat_weights_names: list[str] = []
        self._all_weights: list[list[str]] = []
        for layer in range(num_layers):
            for suffix in ("", "_reverse")[:directions]:
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (gates, input_size if layer == 0 else out * directions),
                    "weight_hh": (gates, out)}
                if bias:
                    shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                names = [f"{name}_l{layer}{suffix}" for name in shapes]
                for name, shape in zip(names, shapes.values(), strict=True):
                    setattr(self, name, Parameter(facula.empty(shape, device=device, dtype=dtype)))
                self._flat_weights_names += names
                self._all_weights.append(names)
        self.reset_parameters()

    @property
    def _flat_weights(self) -> list[Any]:
        return [getattr(self, name, None) for name in self._flat_weights_names]

    @property
    def all_weights(self) -> list[list[Any]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def flatten_parameters(self) -> None:
        """Nothing: parameters need not lie in one piece of memory."""

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def _check(self, input: Any, sizes: Any) -> None:
        of = getattr(self, self._flat_weights_names[0]).dtype
        if input.dtype is not of and not autocasting.thread.now.enabled:
            raise ValueError(f"RNN input dtype ({input.dtype}) does not match weight dtype ({of}). Convert input: "
                             f"input.to({of}), or convert model: model.to({input.dtype})")
        want = 2 if sizes is not None else 3
        if input.dim() != want:
            raise RuntimeError(f"input must have {want} dimensions, got {input.dim()}")
        if self.input_size != input.size(-1):
            raise RuntimeError(f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got "
                               f"{input.size(-1)}")

    def _states(self, input: Any, count: int, hx: Any, names: str) -> tuple[Any, ...]:
        """The states to start from, each (layers * directions, N, size)."""
        layers = self.num_layers * (2 if self.bidirectional else 1)
        sizes = [self.proj_size or self.hidden_size]
        if self.mode == "LSTM":
            sizes.append(self.hidden_size)
        if hx is None:
            return tuple([facula.zeros(layers, count, size, dtype=input.dtype, device=input.device) for size in sizes])
        given = hx if self.mode == "LSTM" else (hx,)
        for state, size, name in zip(given, sizes, names.split(), strict=True):
            if tuple(state.shape) != (layers, count, size):
                raise RuntimeError(f"Expected {name} {'size' if name == 'hidden' else 'size'} "
                                   f"{(layers, count, size)}, got {list(state.shape)}")
        return tuple(given)

    def _options(self) -> tuple[Any, ...]:
        return (self._flat_weights, self.bias, self.num_layers, self.dropout, self.training, self.bidirectional)

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Outputs of the last layer at each step, and the last state of every layer."""
        names = "hidden[0] hidden[1]" if self.mode == "LSTM" else "hidden"
        if isinstance(input, PackedSequence):
            x, batch_sizes, order, back = input
            sizes = [int(s) for s in batch_sizes.tolist()]
            self._check(x, sizes)
            states = self._states(x, sizes[0], hx, names)
            if hx is not None and order is not None:
                states = tuple([s.index_select(1, order) for s in states])
            out, states = whole.layers(self.mode, x, sizes, states, *self._options())
            if back is not None:
                states = tuple([s.index_select(1, back) for s in states])
            return PackedSequence(out, batch_sizes, order, back), states if self.mode == "LSTM" else states[0]
        if input.dim() not in (2, 3):
            raise ValueError(f"{type(self).__name__}: Expected input to be 2D or 3D, got {input.dim()}D instead")
        batched = input.dim() == 3
        at = 0 if self.batch_first else 1
        x = input if batched else input.unsqueeze(at)
        if not batched and hx is not None:
            hx = tuple([s.unsqueeze(1) for s in hx]) if self.mode == "LSTM" else hx.unsqueeze(1)
        self._check(x, None)
        if not x.size(1 if self.batch_first else 0):
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        start = self._states(x, x.size(0 if self.batch_first else 1), hx, names)
        out, *last = whole.called(self.mode, x, list(start) if self.mode == "LSTM" else start[0], *self._options(),
                                    self.batch_first)
        if not batched:
            out, last = out.squeeze(at), [s.squeeze(1) for s in last]
        return out, tuple(last) if self.mode == "LSTM" else last[0]

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + options_text(
            self, proj_size=0, num_layers=1, bias=True, batch_first=False, dropout=0,
            bidirectional=False)


class RNN(RNNBase):
    """h = tanh(W x + b + V h + c), or with `nonlinearity="relu"`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if len(args) > 3:
            self.nonlinearity = args[3]
            args = args[:3] + args[4:]
        else:
            self.nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if self.nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{self.nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__("RNN_" + self.nonlinearity.upper(), *args, **kwargs)


class LSTM(RNNBase):
    """Long short-term memory: input, forget, cell and output gates, in this order.

    Example:
        >>> import facula
        >>> out, (h, c) = facula.nn.LSTM(10, 20, 2)(facula.zeros(5, 3, 10))
        >>> out.shape, h.shape
        (torch.Size([5, 3, 20]), torch.Size([2, 3, 20]))
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)


class GRU(RNNBase):
    """Gated recurrent units: reset, update and new gates, in this order."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)


# ---- cells --------------------------------------------------------------------------------------------------

class RNNCellBase(Module):
    """What the cells have in common."""

    __constants__ = ["input_size", "hidden_size", "bias"]
    bias_ih: Any
    bias_hh: Any

    def __init__(self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = num_chunks * hidden_size
        self.weight_ih = Parameter(facula.empty(rows, input_size, device=device, dtype=dtype))
        self.weight_hh = Parameter(facula.empty(rows, hidden_size, device=device, dtype=dtype))
        if bias:
            self.bias_ih = Parameter(facula.empty(rows, device=device, dtype=dtype))
            self.bias_hh = Parameter(facula.empty(rows, device=device, dtype=dtype))
        else:
            self.register_parameter("bias_ih", None)
            self.register_parameter("bias_hh", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        if getattr(self, "nonlinearity", "tanh") != "tanh":
            text += f", nonlinearity={self.nonlinearity}"
        return text

    def _once(self, mode: str, input: Any, states: Any) -> tuple[Any, ...]:
        name = type(self).__name__
        if input.dim() not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        for state in states or ():
            if state.dim() not in (1, 2):
                raise ValueError(f"{name}: Expected hidden to be 1D or 2D, got {state.dim()}D instead")
        batched = input.dim() == 2
        x = input if batched else input.unsqueeze(0)
        if x.size(1) != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {x.size(1)} expected {self.input_size}")
        if states is None:
            zero = facula.zeros(x.size(0), self.hidden_size, dtype=x.dtype, device=x.device)
            states = (zero,) * (2 if mode == "LSTM" else 1)
        else:
            if not batched:
                states = tuple([s.unsqueeze(0) for s in states])
            for k, state in enumerate(states):
                if state.size(0) != x.size(0):
                    raise RuntimeError(f"Input batch size {x.size(0)} doesn't match hidden{k} batch size "
                                       f"{state.size(0)}")
                if state.size(1) != self.hidden_size:
                    raise RuntimeError(f"hidden{k} has inconsistent hidden_size: got {state.size(1)}, expected "
                                       f"{self.hidden_size}")
        part = unrolled.input_part(mode, x, self.weight_ih, self.bias_ih, self.bias_hh)
        found = unrolled.step(mode, part, tuple(states), self.weight_hh, self.bias_hh, None)
        return found if batched else tuple([s.squeeze(0) for s in found])


class RNNCell(RNNCellBase):
    """One step of `RNN`."""

    __constants__ = ["input_size", "hidden_size", "bias", "nonlinearity"]

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh",
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, hx: Any = None) -> Any:
        """The new state."""
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        return self._once("RNN_" + self.nonlinearity.upper(), input, None if hx is None else (hx,))[0]


class LSTMCell(RNNCellBase):
    """One step of `LSTM`."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> Any:
        """The new state and cell."""
        return self._once("LSTM", input, hx)


class GRUCell(RNNCellBase):
    """One step of `GRU`."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> Any:
        """The new state."""
        return self._once("GRU", input, None if hx is None else (hx,))[0]
