"""What `print(tensor)` shows: PyTorch's text, to the letter.

One format serves all elements of a tensor, chosen from their range (`_Format`); the elements are laid out in
brackets; what the brackets cannot show (dtype, size, gradient) is appended. Of a tensor too large to print
whole only the elements at the edges are looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from facula import dtypes
from facula._tensor.reading import elements
from facula.defaults import get_default_dtype
from facula.dtypes import dtype

_PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}


class PrintOptions:
    """How tensors are printed; see `set_printoptions`."""

    __slots__ = ("precision", "threshold", "edgeitems", "linewidth", "sci_mode")

    def __init__(self, precision: int = 4, threshold: float = 1000, edgeitems: int = 3, linewidth: int = 80,
                 sci_mode: bool | None = None) -> None:
        self.precision = precision
        self.threshold = threshold
        self.edgeitems = edgeitems
        self.linewidth = linewidth
        self.sci_mode = sci_mode


PRINT_OPTS = PrintOptions()


def set_printoptions(precision: int | None = None, threshold: float | None = None,
                     edgeitems: int | None = None, linewidth: int | None = None, profile: str | None = None,
                     sci_mode: bool | None = None) -> None:
    """Set how tensors are printed; what is None stays, except `sci_mode`.

    Args:
        precision: digits behind the point.
        threshold: tensors of more elements are abbreviated.
        edgeitems: how many elements an abbreviation shows at each end of a dimension.
        linewidth: characters in a line.
        profile: `default`, `short` or `full`: sets all of these, before the other arguments do.
        sci_mode: with exponents (True), without (False), or as the values demand (None).

    Example:
        >>> from facula.printing import printoptions, set_printoptions
        >>> with printoptions():
        ...     set_printoptions(precision=2)
    """
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    chosen = dict(_PROFILES.get(profile, {})) if profile is not None else {}
    chosen.update({name: value for name, value in given.items() if value is not None})
    for name, value in chosen.items():
        setattr(PRINT_OPTS, name, value)
    PRINT_OPTS.sci_mode = sci_mode


def get_printoptions() -> dict[str, Any]:
    """The current options, as keyword arguments for `set_printoptions`.

    Example:
        >>> from facula.printing import get_printoptions
        >>> get_printoptions()["precision"]
        4
    """
    return {name: getattr(PRINT_OPTS, name) for name in PrintOptions.__slots__}


@contextmanager
def printoptions(**kwargs: Any) -> Iterator[None]:
    """Context manager: other options inside (as for `set_printoptions`), the former ones afterwards."""
    before = get_printoptions()
    set_printoptions(**kwargs)
    try:
        yield
    finally:
        set_printoptions(**before)


class _Format:
    """One format for all of `values` (Python numbers): fixed, with exponent or as integers; and its width."""

    __slots__ = ("spec", "point", "width")

    def __init__(self, values: list[Any], floating: bool, options: PrintOptions) -> None:
        self.spec, self.point, self.width = "", "", 1
        if not floating:
            self.width = max(map(len, map(str, values)), default=1)
            return
        self.spec, self.point = ".0f", "."
        shown = [v for v in values if v and math.isfinite(v)]
        if not shown:
            return
        whole = all(v.is_integer() for v in shown)
        if _needs_exponent(shown) if options.sci_mode is None else options.sci_mode:
            self.spec, self.point = f".{options.precision}e", ""
        elif not whole:
            self.spec, self.point = f".{options.precision}f", ""
        self.width = max(len(format(v, self.spec)) for v in shown) + len(self.point)

    def __call__(self, value: Any) -> str:
        text = format(value, self.spec) if self.spec else str(value)
        if self.point and math.isfinite(value):
            text += self.point
        return text.rjust(self.width)


def _needs_exponent(values: list[float]) -> bool:
    largest = max(map(abs, values))
    smallest = min(map(abs, values))
    return largest / smallest > 1000.0 or largest > 1.0e8 or smallest < 1.0e-4


class _Pair:
    """The format of complex numbers: one for the real parts, one for the imaginary ones."""

    __slots__ = ("real", "imag", "width")

    def __init__(self, values: list[complex], options: PrintOptions) -> None:
        self.real = _Format([v.real for v in values], True, options)
        self.imag = _Format([v.imag for v in values], True, options)
        self.width = self.real.width + self.imag.width + 1

    def __call__(self, value: complex) -> str:
        imag = self.imag(value.imag).lstrip() + "j"
        return self.real(value.real) + (imag if imag[0] in "+-" else "+" + imag)


def format_array(array: np.ndarray, of: dtype, indent: int = 0,
                 options: PrintOptions = PRINT_OPTS) -> str:
    """The elements of `array`, which carries elements of dtype `of`, in brackets, as PyTorch prints them.

    `indent` is the number of characters before them in their first line.

    Example:
        >>> import numpy as np
        >>> from facula import dtypes
        >>> from facula.printing import format_array
        >>> format_array(np.array([1.5, 20.0], np.float32), dtypes.float32)
        '[ 1.5000, 20.0000]'
    """
    if array.size == 0:
        return "[]"
    cut = [False] * array.ndim
    if array.size > options.threshold:
        if not options.edgeitems and array.ndim:
            return "[...]"
        cut = [length > 2 * options.edgeitems for length in array.shape]
        array = _edges(array, cut, options.edgeitems)
    array = _readable(array, of)
    flat: list[Any] = array.ravel().tolist()
    form = _Pair(flat, options) if of.is_complex else _Format(flat, of.is_floating_point, options)
    if not array.ndim:
        return form(flat[0])
    return _brackets(array.tolist(), cut, indent, form, options)


def _edges(array: np.ndarray, cut: list[bool], count: int) -> np.ndarray:
    """`array` without what an abbreviation leaves out; `count` elements stay at each end of what is cut."""
    for axis, is_cut in enumerate(cut):
        if is_cut:
            first = array[(slice(None),) * axis + (slice(count),)]
            last = array[(slice(None),) * axis + (slice(-count, None),)]
            array = np.concatenate((first, last), axis)
    return array


def _readable(array: np.ndarray, of: dtype) -> np.ndarray:
    """`array` with elements that Python can show: bfloat16's bits are widened to float32."""
    if of is dtypes.bfloat16:
        return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return array


def _brackets(values: list[Any], cut: list[bool], indent: int, form: _Format | _Pair,
              options: PrintOptions) -> str:
    if len(cut) == 1:
        return _row(values, cut[0], indent, form, options)
    texts = [_brackets(value, cut[1:], indent + 1, form, options) for value in values]
    if cut[0]:
        texts.insert(options.edgeitems, "...")
    return "[" + ("," + "\n" * (len(cut) - 1) + " " * (indent + 1)).join(texts) + "]"


def _row(values: list[Any], cut: bool, indent: int, form: _Format | _Pair, options: PrintOptions) -> str:
    texts = [form(value) for value in values]
    if cut:
        texts.insert(options.edgeitems, " ...")
    in_line = max(1, (options.linewidth - indent) // (form.width + 2))
    lines = [", ".join(texts[start:start + in_line]) for start in range(0, len(texts), in_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def tensor_repr(tensor: Any, *, tensor_contents: str | None = None) -> str:
    """What `repr(tensor)` gives. `tensor_contents` replaces the elements.

    Example:
        >>> import facula
        >>> facula.tensor([1.0, 2.0])
        tensor([1., 2.])
    """
    of, shape = tensor.dtype, tuple(tensor.shape)
    prefix = "tensor(" if _is_plain(type(tensor)) else f"{type(tensor).__name__}("
    contents, suffixes = tensor_contents, []
    if tensor.device.type != "cpu":
        suffixes.append(f"device='{tensor.device}'")
    if tensor.device.type == "meta":
        contents = "..." if contents is None else contents
        suffixes.append(f"size={shape}")
        needs_dtype = of is not get_default_dtype()
    elif math.prod(shape) == 0:
        contents = "[]" if contents is None else contents
        if len(shape) != 1:
            suffixes.append(f"size={shape}")
        needs_dtype = of is not get_default_dtype()
    else:
        if not PRINT_OPTS.edgeitems:
            suffixes.append(f"size={shape}")
        needs_dtype = of not in (get_default_dtype(), _default_complex(), dtypes.int64, dtypes.bool_)
        if contents is None:
            contents = format_array(_array(tensor), of, len(prefix))
    if needs_dtype:
        suffixes.append(f"dtype={of}")
    try:
        step = tensor.grad_fn
    except RuntimeError:  # a view from outside the tape, whose base has gone on
        step = "Invalid"
    if step is not None:
        suffixes.append(f"grad_fn=<{step if step == 'Invalid' else _grad_name(step)}>")
    elif tensor.requires_grad:
        suffixes.append("requires_grad=True")
    text = _append(prefix + contents, suffixes, len(prefix))
    return f"Parameter({text})" if _is_parameter(type(tensor)) and not _is_plain(type(tensor)) else text


def _append(text: str, suffixes: list[str], indent: int) -> str:
    """`text`, the suffixes (each in a new line if the last has no room for it) and the closing bracket."""
    used = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if used + len(suffix) + 2 > PRINT_OPTS.linewidth:
            text += ",\n" + " " * indent + suffix
            used = indent + len(suffix)
        else:
            text += ", " + suffix
            used += len(suffix) + 2
    return text + ")"


def _default_complex() -> dtype:
    return dtypes.complex128 if get_default_dtype() is dtypes.float64 else dtypes.complex64


def _is_parameter(cls: type) -> bool:
    return any(base.__name__ == "Parameter" and base.__module__.startswith("facula.") for base in cls.mro())


def _is_plain(cls: type) -> bool:
    """Is `cls` Tensor or Parameter itself? (Printing lies below both: it knows them by name.)"""
    return cls.__name__ in ("Tensor", "Parameter") and cls.__module__.startswith("facula.")


def _grad_name(grad_fn: Any) -> str:
    name = type(grad_fn).__name__
    return grad_fn.name() if name == "GradNode" else name


def _array(tensor: Any) -> np.ndarray:
    """The elements as a NumPy array in the carrier type (`dtype.numpy`), without a copy."""
    return elements(tensor)


def tensor_format(tensor: Any, spec: str) -> str:
    """What `format(tensor, spec)` gives: the number's format for a tensor without dimensions.

    Example:
        >>> import facula
        >>> f"{facula.tensor(0.5):.2f}"
        '0.50'
    """
    if len(tensor.shape) == 0 and tensor.device.type != "meta" and type(tensor).__name__ == "Tensor":
        return format(tensor.detach().item(), spec)
    if not spec:
        return str(tensor)
    raise TypeError(f"unsupported format string passed to {type(tensor).__name__}.__format__")
