"""Fourier transforms: NumPy's on the host, one dimension at a time.

Three steps carry everything: complex to complex, real to half a spectrum, and back. Each one's gradient is
another, with the scale kept: the transpose of a transform scaled by s is the opposite one scaled by s.
"""

from __future__ import annotations

import operator
from operator import index as as_int
from typing import Any

import numpy as np

from facula import defaults
from facula._tensor.handle import Tensor, new, strides_of
from facula._tensor.reading import lay_in, read
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.dtypes import FLOAT, bool_, float64
from facula.engine.graph.node import CALL, PICK, contiguous_strides, size_of
from facula.engine.realize import leaf
from facula.engine.recorder import record
from facula.ops.arguments import wrap_dim
from facula.ops.arrange.padding import constant_pad_nd
from facula.ops.arrange.rearranging import roll
from facula.ops.casting import constant, to_dtype
from facula.ops.create.creation import _dtype, _numbers, finish
from facula.ops.registry import DTYPE_NAMES, op
from facula.ops.requirements import require
from facula.ops.severing import severed
from facula.ops.view.dtype_views import real, view_as_real
from facula.ops.view.value_views import owned
from facula.size import Size

_OPPOSITE = {"backward": "forward", "forward": "backward", "ortho": "ortho"}


# ---- the three steps --------------------------------------------------------------------------------------

def _call(x: Tensor, kind: str, n: int | None, dim: int, norm: str, size: int, of: Any, rule: Rule,
          saved: tuple[Any, ...]) -> Tensor:
    shape = tuple.__new__(Size, (*x.shape[:dim], size, *x.shape[dim + 1:]))
    if not size_of(shape):
        return severed(new(constant(0, shape, of)), x, name=rule.name)
    call = record(CALL, (read(x),), ("fft", kind, n, dim, norm), None, (), x.dtype)
    return attach(new(record(PICK, (call,), (0,), None, shape, of)), rule, (x,), saved)


def _complex(x: Tensor, dim: int, norm: str, forward: bool) -> Tensor:
    return _call(x, "fft" if forward else "ifft", None, dim, norm, x.shape[dim], x.dtype, _C2C, (dim, norm, forward))


def _half(x: Tensor, dim: int, norm: str) -> Tensor:
    """The first half of the spectrum of a real signal."""
    return _call(x, "rfft", None, dim, norm, x.shape[dim] // 2 + 1, x.dtype.to_complex(), _R2C, (dim, norm))


def _real(x: Tensor, n: int, dim: int, norm: str) -> Tensor:
    """The real signal of `n` elements that has this half spectrum."""
    return _call(x, "irfft", n, dim, norm, n, x.dtype.to_real(), _C2R, (n, dim, norm))


def _c2c_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    dim, norm, forward = ctx.saved
    return (_complex(g, dim, _OPPOSITE[norm], not forward),)


def _r2c_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    dim, norm = ctx.saved
    whole = _resized(g, dim, ctx.shapes[0][dim])
    return (real(_complex(whole, dim, _OPPOSITE[norm], False)),)


def _c2r_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    n, dim, norm = ctx.saved
    half = _half(g, dim, _OPPOSITE[norm])
    twice = np.ones((n // 2 + 1, *[1] * (len(half.shape) - 1 - dim)), half.dtype.to_real().numpy)
    twice[1:(n + 1) // 2] = 2  # these stand for their mirror images too
    return (half * new(leaf(twice, twice.shape, half.dtype.to_real())),)


_C2C = Rule("FftC2CBackward0", _c2c_backward)
_R2C = Rule("FftR2CBackward0", _r2c_backward)
_C2R = Rule("FftC2RBackward0", _c2r_backward)


# ---- arguments --------------------------------------------------------------------------------------------

def _resized(x: Tensor, dim: int, n: int) -> Tensor:
    """`x` cut off, or continued with zeros, to `n` along `dim`."""
    if x.shape[dim] == n:
        return x
    return constant_pad_nd(
        x, [0, 0] * (len(x.shape) - 1 - dim) + [0, n - x.shape[dim]], 0)


def _norm(norm: Any) -> str:
    if norm is None:
        return "backward"
    if norm not in _OPPOSITE:
        raise RuntimeError(f'Invalid normalization mode: "{norm}"')
    return norm  # type: ignore[no-any-return]


def _input(what: str, x: Any, kind: str) -> Tensor:
    """`x` as real or complex floats."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{what}(): argument 'input' (position 1) must be Tensor, not {type(x).__name__}")
    if x.dtype.category < FLOAT:
        x = to_dtype(x, defaults.get_default_dtype())
    if x.dtype.to_real().itemsize < 4:
        raise RuntimeError(f"Unsupported dtype {DTYPE_NAMES[x.dtype.name]}")
    if kind == "real" and x.dtype.is_complex:
        raise RuntimeError(f"{what} expects a real input tensor, but got {DTYPE_NAMES[x.dtype.name]}")
    return to_dtype(x, x.dtype.to_complex()) if kind == "complex" else x


def _points(n: int) -> int:
    if n < 1:
        raise RuntimeError(f"Invalid number of data points ({n}) specified")
    return n


def _dims(x: Tensor, s: Any, dim: Any) -> tuple[list[int], list[int]]:
    """The dimensions to transform and the size to bring each to."""
    rank = len(x.shape)
    if isinstance(dim, int):
        dim = (dim,)
    if isinstance(s, int):
        s = (s,)
    if dim is not None:
        dims = [wrap_dim(d, rank) for d in dim]
        if len(set(dims)) != len(dims):
            raise RuntimeError("FFT dims must be unique")
        if s is not None and len(s) != len(dims):
            raise RuntimeError("When given, dim and shape arguments must have the same length")
    elif s is not None:
        if len(s) > rank:
            raise RuntimeError(f"Got shape with {len(s)} values but input tensor only has {rank} dimensions.")
        dims = list(range(rank - len(s), rank))
    else:
        dims = list(range(rank))
    sizes = [x.shape[d] if s is None or s[k] == -1 else as_int(s[k]) for k, d in enumerate(dims)]
    return dims, sizes


def _laid(out: Tensor, x: Tensor, dims: list[int], sizes: list[int], last: int | None = None) -> Tensor:
    """The transform of `x` over `dims`, of which `last` is half a spectrum on one side, laid out as torch's: what is
    transformed lies innermost, the others around it, each in the order of the strides. x comes in at `sizes`."""
    whole = list(x.shape)
    for d, n in zip(dims, sizes, strict=True):
        whole[d] = n
    longer = any(n > old for n, old in zip(whole, x.shape, strict=True))
    strides = contiguous_strides(tuple(whole)) if longer else strides_of(x)
    outer = sorted((d for d in range(len(whole)) if d not in dims), key=lambda d: -strides[d])
    inner = sorted((d for d in dims if d != last), key=lambda d: -strides[d])
    return lay_in(out, (*outer, *inner, *(() if last is None else (last,))))


# ---- one dimension ----------------------------------------------------------------------------------------

def _single(name: str, kind: str, run: Any, doc: str) -> None:
    def body(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
        x = _input(name, input, kind)
        return run(x, n, wrap_dim(dim, len(x.shape)), _norm(norm))  # type: ignore[no-any-return]
    body.__name__ = body.__qualname__ = name
    body.__doc__ = doc
    op(body, method=False, out=True, namespace="fft")


def _fft1(x: Tensor, n: int | None, d: int, norm: str, forward: bool) -> Tensor:
    n = _points(x.shape[d] if n is None else n)
    return _laid(_complex(_resized(x, d, n), d, norm, forward), x, [d], [n])


def _rfft1(x: Tensor, n: int | None, d: int, norm: str) -> Tensor:
    n = _points(x.shape[d] if n is None else n)
    return _laid(_half(_resized(x, d, n), d, norm), x, [d], [n], d)


def _irfft1(x: Tensor, n: int | None, d: int, norm: str) -> Tensor:
    n = _points(2 * (x.shape[d] - 1) if n is None else n)
    return _laid(_real(_resized(x, d, n // 2 + 1), n, d, norm), x, [d], [n // 2 + 1], d)


def _hfft1(x: Tensor, n: int | None, d: int, norm: str) -> Tensor:
    return _irfft1(x.conj(), n, d, _OPPOSITE[norm])


def _ihfft1(x: Tensor, n: int | None, d: int, norm: str) -> Tensor:
    return _rfft1(x, n, d, _OPPOSITE[norm]).conj()


_single("fft", "complex", lambda x, n, d, norm: _fft1(x, n, d, norm, True), "The Fourier transform.")
_single("ifft", "complex", lambda x, n, d, norm: _fft1(x, n, d, norm, False), "The inverse Fourier transform.")
_single("rfft", "real", _rfft1, "The first half of the Fourier transform of a real signal.")
_single("irfft", "complex", _irfft1, "The real signal with this half spectrum.")
_single("hfft", "complex", _hfft1, "The real spectrum of a signal of which the first half is given.")
_single("ihfft", "real", _ihfft1, "The inverse of `hfft`.")


# ---- several dimensions -----------------------------------------------------------------------------------

def _each(x: Tensor, dims: list[int], sizes: list[int], norm: str, forward: bool) -> Tensor:
    if not dims:
        return x
    out = x
    for d, n in zip(dims, sizes, strict=True):
        out = _complex(_resized(out, d, _points(n)), d, norm, forward)
    return _laid(out, x, dims, sizes)


def _last_size(x: Tensor, s: Any, dims: list[int], sizes: list[int]) -> list[int]:
    """The sizes for half a spectrum as input: the last one doubles if nothing else is said."""
    if dims and (s is None or (s if isinstance(s, int) else s[-1]) == -1):
        return [*sizes[:-1], 2 * (x.shape[dims[-1]] - 1)]
    return sizes


def _many(name: str, kind: str, run: Any, doc: str) -> None:
    def every(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
        x = _input(name + "n", input, kind)
        dims, sizes = _dims(x, s, dim)
        if not dims and name not in ("fft", "ifft"):
            raise RuntimeError(f"{name}n must transform at least one axis")
        if input.dtype.category >= FLOAT or len(dims) < 2:
            return run(x, s, dims, sizes, _norm(norm))  # type: ignore[no-any-return]
        # of integers nothing is differentiated, so that what lies between may be in doubles: rounded once in all
        wide = run(_input(name + "n", to_dtype(input, float64), kind), s, dims, sizes, _norm(norm))
        of = x.dtype.to_real()
        return to_dtype(wide, of.to_complex() if wide.dtype.is_complex else of)

    def two(input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Tensor:
        return every(input, s, dim, norm)
    for body, suffix in ((every, "n"), (two, "2")):
        body.__name__ = body.__qualname__ = name + suffix
        body.__doc__ = doc
        op(body, method=False, out=True, namespace="fft")


def _rfft_many(x: Tensor, s: Any, dims: list[int], sizes: list[int], norm: str) -> Tensor:
    half = _rfft1(x, sizes[-1], dims[-1], norm)
    return _laid(_each(half, dims[:-1], sizes[:-1], norm, True), x, dims, sizes, dims[-1])


def _irfft_many(x: Tensor, s: Any, dims: list[int], sizes: list[int], norm: str) -> Tensor:
    sizes = _last_size(x, s, dims, sizes)
    return _irfft1(_each(x, dims[:-1], sizes[:-1], norm, False), sizes[-1], dims[-1], norm)


def _hfft_many(x: Tensor, s: Any, dims: list[int], sizes: list[int], norm: str) -> Tensor:
    sizes = _last_size(x, s, dims, sizes)
    return _hfft1(_each(x, dims[:-1], sizes[:-1], norm, True), sizes[-1], dims[-1], norm)


def _ihfft_many(x: Tensor, s: Any, dims: list[int], sizes: list[int], norm: str) -> Tensor:
    return _each(_ihfft1(x, sizes[-1], dims[-1], norm), dims[:-1], sizes[:-1], norm, False)


_many("fft", "complex", lambda x, s, dims, sizes, norm: _each(x, dims, sizes, norm, True),
      "The Fourier transform over several dimensions.")
_many("ifft", "complex", lambda x, s, dims, sizes, norm: _each(x, dims, sizes, norm, False),
      "The inverse Fourier transform over several dimensions.")
_many("rfft", "real", _rfft_many, "The transform of a real signal: half of it in the last dimension.")
_many("irfft", "complex", _irfft_many, "The inverse of `rfftn`.")
_many("hfft", "complex", _hfft_many, "`hfft` over the last dimension, `fft` over the others.")
_many("ihfft", "real", _ihfft_many, "The inverse of `hfftn`.")


# ---- frequencies ------------------------------------------------------------------------------------------

def _frequencies(what: str, counts: Any, n: int, d: float, options: dict[str, Any]) -> Tensor:
    out = options.pop("out", None)
    of = _dtype(options.pop("dtype", None), what)
    options.pop("layout", None)
    values = counts / (n * d)
    return finish(_numbers(values, of), options.pop("device", None), options.pop("requires_grad", False), out,
                  "fftfreq", options.pop("pin_memory", False))


@op(method=False, namespace="fft")
def fftfreq(n: int, d: float = 1.0, **options: Any) -> Tensor:
    """The frequencies of `fft`'s result, for samples `d` apart."""
    n = operator.index(n)
    places = np.arange(max(n, 0))
    return _frequencies("fftfreq", np.where(places < (n + 1) // 2, places, places - n), n, d, options)


@op(method=False, namespace="fft")
def rfftfreq(n: int, d: float = 1.0, **options: Any) -> Tensor:
    """The frequencies of `rfft`'s result, for samples `d` apart."""
    n = operator.index(n)
    return _frequencies("rfftfreq", np.arange(n // 2 + 1), n, d, options)


def _shift(x: Tensor, dim: Any, by: Any) -> Tensor:
    dims = range(len(x.shape)) if dim is None else (dim,) if isinstance(dim, int) else dim
    dims = [wrap_dim(d, len(x.shape)) for d in dims]
    return roll(x, [by(x.shape[d]) for d in dims], dims) if dims else x


@op(method=False, namespace="fft")
def fftshift(input: Tensor, dim: Any = None) -> Tensor:
    """The zero frequency moved to the middle."""
    return _shift(input, dim, lambda n: n // 2)


@op(method=False, namespace="fft")
def ifftshift(input: Tensor, dim: Any = None) -> Tensor:
    """The inverse of `fftshift`."""
    return _shift(input, dim, lambda n: (n + 1) // 2)


# ---- short times ------------------------------------------------------------------------------------------

def _window(what: str, n_fft: int, hop: Any, length: Any, window: Any, x: Tensor) -> tuple[int, Any]:
    hop = n_fft // 4 if hop is None else hop
    length = n_fft if length is None else length
    if hop <= 0:
        raise RuntimeError(f"{what}: expected hop_length > 0, but got hop_length={hop}")
    if not 0 < length <= n_fft:
        raise RuntimeError(f"{what}: expected 0 < win_length <= n_fft, but got win_length={length}")
    if window is not None and tuple(window.shape) != (length,):
        raise RuntimeError(f"{what}: expected a 1D window tensor of size equal to win_length={length}, but got "
                           f"window with size {list(window.shape)}")
    if window is None and length < n_fft:
        window = new(constant(1, (length,), x.dtype.to_real()))
    if window is not None and length < n_fft:
        left = (n_fft - length) // 2
        window = constant_pad_nd(window, [left, n_fft - length - left], 0)
    return hop, window


@op
def stft(input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
         window: Tensor | None = None, center: bool = True, pad_mode: str = "reflect", normalized: bool = False,
         onesided: bool | None = None, return_complex: bool | None = None,
         align_to_window: bool | None = None) -> Tensor:
    """The spectra of short overlapping pieces: (frequencies, pieces), or (signals, frequencies, pieces)."""
    if align_to_window is not None and center:
        raise RuntimeError("stft: align_to_window should only be set when center = false")
    if align_to_window:
        raise NotImplementedError("stft: align_to_window=True is not implemented")
    if len(input.shape) not in (1, 2):
        raise RuntimeError(f"stft: expected a 1D or 2D tensor, but got {len(input.shape)}D")
    if 0 in input.shape:
        raise RuntimeError(f"stft: expected a tensor with elements, but got size {list(input.shape)}")
    complex_input = input.dtype.is_complex or (window is not None and window.dtype.is_complex)
    if return_complex is None:
        if not complex_input:
            raise RuntimeError("stft requires the return_complex parameter be given for real inputs, and will further "
                               "require that return_complex=True in a future PyTorch release.")
        return_complex = True
    x = input if len(input.shape) == 2 else input.unsqueeze(0)
    if center:
        from facula.ops.arrange.padding import pad
        x = pad(x.unsqueeze(1), [n_fft // 2, n_fft // 2], pad_mode).squeeze(1)
    if not 0 < n_fft <= x.shape[-1]:
        raise RuntimeError(f"stft({DTYPE_NAMES[input.dtype.name]}{list(input.shape)}, n_fft={n_fft}): expected "
                           f"0 < n_fft <= {x.shape[-1]}, but got n_fft={n_fft}")
    hop, window = _window("stft", n_fft, hop_length, win_length, window, x)
    pieces = x.unfold(-1, n_fft, hop)
    if window is not None:
        pieces = pieces * window
    if onesided is None:
        onesided = not complex_input
    norm = "ortho" if normalized else "backward"
    if pieces.dtype.is_complex:
        if onesided:
            raise RuntimeError("Cannot have onesided output if window or input is complex")
        out = _complex(pieces, 2, norm, True)
    elif onesided:
        out = _half(pieces, 2, norm)
    else:
        out = _complex(to_dtype(pieces, pieces.dtype.to_complex()), 2, norm, True)
    out = out.transpose(1, 2)
    if len(input.shape) == 1:
        out = out.squeeze(0)
    return owned(out) if return_complex else view_as_real(out)


@op
def istft(input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
          window: Tensor | None = None, center: bool = True, normalized: bool = False,
          onesided: bool | None = None, length: int | None = None, return_complex: bool = False) -> Tensor:
    """The signal with these short-time spectra: pieces weighted by the window, added up, divided by its square."""
    if not input.dtype.is_complex:
        raise RuntimeError("istft requires a complex-valued input tensor matching the output from stft with "
                           "return_complex=True.")
    if len(input.shape) not in (2, 3):
        raise RuntimeError(f"istft({DTYPE_NAMES[input.dtype.name]}{list(input.shape)}): expected a tensor with 2 or 3 "
                           "dimensions")
    if 0 in input.shape:
        raise RuntimeError(f"istft({DTYPE_NAMES[input.dtype.name]}{list(input.shape)}): input tensor cannot be empty.")
    x = input if len(input.shape) == 3 else input.unsqueeze(0)
    bins, count = x.shape[-2:]
    if onesided is None:
        onesided = bins != n_fft
    if bins != (n_fft // 2 + 1 if onesided else n_fft):
        raise RuntimeError(f"istft: expected the frequency dimension (3rd to the last) of the input tensor to match "
                           f"n_fft{' / 2 + 1' if onesided else ''} when onesided={onesided}, but got {bins}")
    hop, window = _window("istft", n_fft, hop_length, win_length, window, x)
    norm = "ortho" if normalized else "backward"
    x = x.transpose(1, 2)
    if return_complex:
        if onesided:
            raise RuntimeError("Cannot have onesided output if window or input is complex")
        pieces = _complex(x, 2, norm, False)
    else:
        pieces = _real(x if onesided else x.narrow(2, 0, n_fft // 2 + 1), n_fft, 2, norm)
    if window is None:
        window = new(constant(1, (n_fft,), pieces.dtype.to_real()))
    elif window.dtype is bool_:
        window = to_dtype(window, pieces.dtype.to_real())
    total = n_fft + hop * (count - 1)
    signal = _added_up(pieces * window, hop, total)
    envelope = _added_up((window * window).expand((1, count, n_fft)), hop, total)
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else total - n_fft // 2 if center else total
    signal, envelope = [t.narrow(1, start, max(min(end, total) - start, 0)) for t in (signal, envelope)]
    require(envelope.detach().abs(), lambda x: ~(x < 1e-11), RuntimeError, "istft: window overlap add min: 1")
    signal = signal / envelope
    if end > total:
        signal = constant_pad_nd(signal, [0, end - total], 0)
    return signal.squeeze(0) if len(input.shape) == 2 else signal


def _added_up(pieces: Tensor, hop: int, total: int) -> Tensor:
    """(signals, count, n) laid over each other, `hop` apart: (signals, total)."""
    from facula.ops.view.regions import region_add
    return region_add(pieces, (pieces.shape[0], total), (total, hop, 1), 0)
