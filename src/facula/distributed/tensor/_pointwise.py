"""Rules of elementwise operations, of products, and of what goes along dimensions (sums, softmax, normalizations)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from facula.distributed.tensor._dispatch import MAKERS
from facula.distributed.tensor._dtensor import DTensor
from facula.distributed.tensor._rules import Labels, Rule

_NONLINEAR = """abs absolute exp exp2 expm1 log log1p log2 log10 sqrt rsqrt sin cos tan asin acos atan sinh cosh
asinh acosh
atanh tanh sigmoid logit relu relu6 gelu silu elu selu celu leaky_relu hardtanh hardswish hardsigmoid hardshrink
softshrink tanhshrink mish softplus softsign logsigmoid threshold erf erfc erfinv lgamma digamma pow float_power
square reciprocal clamp clip clamp_min clamp_max maximum minimum fmax fmin where eq ne lt le gt ge not_equal
less less_equal greater greater_equal logical_and logical_or logical_xor logical_not bitwise_and bitwise_or
bitwise_xor bitwise_not isnan isinf isfinite floor ceil round trunc fix frac sign sgn signbit lerp addcmul
addcdiv atan2 arctan2 hypot fmod remainder floor_divide copysign xlogy nan_to_num masked_fill logaddexp
logaddexp2 sinc heaviside special_expit rsub __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __pow__ __rpow__ __mod__
__and__ __or__ __xor__ __invert__ __floordiv__ __rfloordiv__ __rtruediv__ __rsub__ __abs__ bool int long short
char byte zeros_like ones_like empty_like full_like""".split()
_LINEAR = """neg negative positive clone contiguous detach float double half bfloat16 to cpu type_as alias add sub
subtract __add__ __radd__ __sub__ __neg__ __pos__ type""".split()
_MULTILINEAR = {"mul": (0, 1), "multiply": (0, 1), "__mul__": (0, 1), "__rmul__": (0, 1), "div": (0,), "divide": (0,),
                "true_divide": (0,), "__truediv__": (0,)}
_IN_PLACE = """add_ sub_ mul_ div_ copy_ zero_ fill_ clamp_ clamp_min_ clamp_max_ sqrt_ rsqrt_ exp_ neg_ abs_ pow_ relu_
sigmoid_ tanh_ lerp_ addcmul_ addcdiv_ reciprocal_ masked_fill_ __iadd__ __isub__ __imul__ __itruediv__ floor_ round_
sign_ square_ nan_to_num_ silu_ leaky_relu_""".split()


def broadcast_labels(tensors: Sequence[Any]) -> tuple[list[Labels], Labels]:
    """Labels of operands that are made alike, and of the result: the place of a dimension, counted from the last."""
    ndim = max(t.dim() for t in tensors)
    sizes = [max((t.shape[d] for t in tensors if d >= -t.dim()), key=lambda n: (n != 1, n)) for d in range(-ndim, 0)]
    inputs = [tuple(d if t.shape[d] == sizes[d] else None for d in range(-t.dim(), 0)) for t in tensors]
    return inputs, tuple(range(-ndim, 0))


def _elementwise(name: str, tensors: list[DTensor], args: Any, kwargs: Any) -> Rule:
    if name == "where" and len(args) == 1:  # the places that are not 0
        return Rule([(None,) * tensors[0].dim()], [])
    if name in ("to", "type", "type_as") and len(tensors) > 1:  # of the others the dtype alone counts
        labels = tuple(range(tensors[0].dim()))
        return Rule([labels, *[(None,) * t.dim() for t in tensors[1:]]], [labels])
    inputs, output = broadcast_labels(tensors)
    operands = [a for a in args[:2] if isinstance(a, (DTensor, int, float, complex)) and not isinstance(a, bool)]
    linear = name in _LINEAR and (len(tensors) == len(operands) or name in ("to", "type"))
    multilinear = tuple(k for k in _MULTILINEAR.get(name, ()) if k < len(tensors))
    if multilinear and not isinstance(args[0], DTensor):  # a number, divided
        multilinear = (0,) if name in ("mul", "multiply") else ()
    if kwargs.get("rounding_mode") is not None:
        multilinear = ()
    return Rule(inputs, [output], linear=linear, multilinear=multilinear)


def _in_place(name: str, tensors: list[DTensor], args: Any, kwargs: Any) -> Rule:
    rule = _elementwise({"__iadd__": "add", "__isub__": "sub", "__imul__": "mul", "__itruediv__": "div"}.get(
        name, name.rstrip("_")), tensors, args, kwargs)
    if len(rule.outputs[0]) != tensors[0].dim() or any(label is None for label in rule.inputs[0]):
        raise RuntimeError(f"{name}: a tensor of shape {tuple(tensors[0].shape)} has no room for what other operands "
                           "make of it")
    rule.keeps_first = True
    rule.linear = rule.linear or name == "copy_" or name == "zero_"
    return rule


for _name in (*_NONLINEAR, *_LINEAR, *_MULTILINEAR):
    MAKERS[_name] = _elementwise
for _name in _IN_PLACE:
    MAKERS[_name] = _in_place


# ---- products --------------------------------------------------------------------------------------------

def _matmul(name: str, tensors: list[DTensor], args: Any, kwargs: Any) -> Rule:
    a, b = tensors
    if not a.dim() or not b.dim():
        raise RuntimeError("both arguments to matmul need to be at least 1D, but they are "
                           f"{a.dim()}D and {b.dim()}D")
    batch, out = broadcast_labels([_Outer(a, 2), _Outer(b, 2)]) if max(a.dim(), b.dim()) > 2 else (
        [(), ()], ())
    rows: Labels = () if a.dim() == 1 else ("n",)
    columns: Labels = () if b.dim() == 1 else ("m",)
    return Rule([(*batch[0], *rows, "k"), (*batch[1], "k", *columns)], [(*out, *rows, *columns)], reduces="sum",
                multilinear=(0, 1))


class _Outer:
    """A tensor's shape without its last dimensions, for `broadcast_labels`."""

    def __init__(self, tensor: Any, less: int) -> None:
        self.shape = tuple(tensor.shape)[:max(tensor.dim() - less, 0)]

    def dim(self) -> int:
        """How many there are."""
        return len(self.shape)


def _linear(name: str, tensors: list[DTensor], args: Any, kwargs: Any) -> Rule:
    x = tensors[0]
    rows = tuple(range(x.dim() - 1))
    inputs: list[Labels] = [(*rows, "k"), ("m", "k") if tensors[1].dim() == 2 else ("k",)]
    output: Labels = (*rows, "m") if tensors[1].dim() == 2 else rows
    if len(tensors) == 3:
        inputs.append(("m",) if tensors[2].dim() else ())
    return Rule(inputs, [output], reduces="sum", multilinear=(0, 1), addends=(2,) if len(tensors) == 3 else ())


def _addmm(name: str, tensors: list[DTensor], args: Any, kwargs: Any) -> Rule:
    bias = tensors[0]
    labels = (None if bias.shape[-1] == 1 else "m",) if bias.dim() == 1 else () if not bias.dim() else (
        None if bias.shape[0] == 1 else "n", None if bias.shape[1] == 1 else "m")
    return Rule([labels, ("n", "k"), ("k", "m")], [("n", "m")], reduces="sum", multilinear=(1, 2), addends=(0,))


MAKERS.update({"matmul": _matmul, "mm": _matmul, "bmm": _matmul, "mv": _matmul, "dot": _matmul, "__matmul__": _matmul,
               "linear": _linear, "addmm": _addmm})


# ---- along dimensions --------------------------------------------------------------------------------------

def _dims(given: Any, ndim: int) -> frozenset[int]:
    if given is None:
        return frozenset(range(ndim))
    several = given if isinstance(given, (list, tuple)) else [given]
    return frozenset(d % ndim if ndim else 0 for d in several) or frozenset(range(ndim))


def _given(args: Any, kwargs: Any, place: int, *names: str) -> Any:
    for name in names:
        if name in kwargs:
            return kwargs[name]
    found = args[place] if len(args) > place else None
    return args[place:] if place == 1 and type(found) is int and all(type(a) is int for a in args[place:]) else found


_PARTS = {"sum": "sum", "amax": "max", "amin": "min"}


def _reduction(name: str, tensors: list[DTensor], args: Any, kwargs: Any) -> Rule:
    x = tensors[0]
    if len(tensors) > 1:  # max and min of two
        return _elementwise(name, tensors, args, kwargs)
    dims = _given(args, kwargs, 1, "dim", "axis")
    several = name in ("max", "min", "median", "mode", "kthvalue") and dims is not None
    keep = bool(_given(args, kwargs, 3 if name in ("var", "std") else 2, "keepdim", "keepdims"))
    if name in ("var", "std") and isinstance(dims, bool):
        dims, keep = None, False
    gone = _dims(dims, x.dim())
    labels = tuple(range(x.dim()))
    output = tuple(None if d in gone else d for d in labels if keep and dims is not None or d not in gone)
    kind = _PARTS.get(name) if not several else None
    if name in ("max", "min") and dims is None:
        kind = name
    return Rule([labels], [output] * (2 if several else 1), fixed=frozenset() if kind else frozenset(gone),
                reduces=kind, linear=name == "sum")


def _along(name: str, tensors: list[DTensor], args: Any, kwargs: Any) -> Rule:
    x = tensors[0]
    given = _given(args, kwargs, 1, "dim")
    if isinstance(given, tuple):
        given = given[0]
    labels = tuple(range(x.dim()))
    fixed = _dims(-1 if given is None else given, x.dim())
    return Rule([labels], [labels], fixed=fixed, linear=name == "cumsum")


def _normalization(name: str, tensors: list[DTensor], args: Any, kwargs: Any) -> Rule:
    x = tensors[0]
    shape = _given(args, kwargs, 1, "normalized_shape")
    count = 1 if isinstance(shape, int) else len(shape[0] if isinstance(shape[0], (list, tuple)) else shape)
    labels = tuple(range(x.dim()))
    inside = labels[x.dim() - count:]
    return Rule([labels, *[inside] * (len(tensors) - 1)], [labels], fixed=frozenset(inside))


def _attention(name: str, tensors: list[DTensor], args: Any, kwargs: Any) -> Rule:
    q, k, v = tensors[:3]
    inputs, batch = broadcast_labels([_Outer(t, 2) for t in (q, k, v)])
    found: list[Labels] = [(*labels, row, None) for labels, row in zip(inputs, ("q", None, None), strict=True)]
    by_place = kwargs.get("is_causal") or len(tensors) > 3 or any(a is True for a in args)
    fixed: frozenset[Any] = frozenset({"q"}) if by_place else frozenset()
    if len(tensors) > 3:
        mask = tensors[3]
        outer = _Outer(mask, 2)
        found.append((*(None if outer.shape[d] == 1 and (q.shape[:-2][d] != 1) else d for d in range(-outer.dim(), 0)),
                      None, None))
    if kwargs.get("enable_gqa"):
        fixed |= {-1}
    p = kwargs.get("dropout_p") or (args[4] if len(args) > 4 else 0.0)
    if p:
        raise NotImplementedError("scaled_dot_product_attention of DTensors with dropout is not in Facula")
    return Rule(found, [(*batch, "q", None)], fixed=fixed)


for _name in ("sum", "amax", "amin", "max", "min", "prod", "all", "any", "var", "std", "argmax", "argmin", "logsumexp",
              "median", "mode", "nansum"):
    MAKERS[_name] = _reduction
for _name in ("softmax", "log_softmax", "softmin", "cumsum", "cumprod", "logcumsumexp"):
    MAKERS[_name] = _along
for _name in ("layer_norm", "rms_norm"):
    MAKERS[_name] = _normalization
MAKERS["scaled_dot_product_attention"] = _attention
