"""What PyTorch calls a function, and how it hands its arguments on: what graphs are printed with.

An operation of Facula's is one function; PyTorch records some by a name within `torch._C`, and those of
`nn.functional` that are written in Python with every argument that has a default filled in, by name. Programs that look
for patterns, and people who read graphs, know these forms.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import sys
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import facula
from facula import overrides
from facula._tensor.handle import Tensor
from facula.ops.op import METHODS, operation_of, signature_of

# Of nn.functional what PyTorch finds in `torch._C._nn`, and what in `torch` itself. Both are recorded as called.
_IN_NN = frozenset(("avg_pool2d", "avg_pool3d", "elu_", "gelu", "hardtanh_", "leaky_relu_", "linear", "logsigmoid",
                    "one_hot", "scaled_dot_product_attention", "softplus", "softshrink"))
_IN_TORCH = frozenset((
    "adaptive_avg_pool1d", "avg_pool1d", "bilinear", "celu_", "channel_shuffle", "conv1d", "conv2d", "conv3d",
    "conv_tbc", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "cosine_similarity", "grouped_mm",
    "hardshrink", "native_channel_shuffle", "pairwise_distance", "pdist", "pixel_shuffle", "pixel_unshuffle", "prelu",
    "relu_", "rrelu_", "selu_", "threshold_"))
# Of `torch` what is written in Python, in `torch.functional`.
_IN_FUNCTIONAL = frozenset((
    "atleast_1d", "atleast_2d", "atleast_3d", "block_diag", "broadcast_tensors", "cartesian_prod", "cdist",
    "chain_matmul", "einsum", "lu", "meshgrid", "norm", "split", "stft", "tensordot", "unique", "unique_consecutive",
    "unravel_index"))
_OTHERWISE = MappingProxyType({"logsigmoid": "log_sigmoid", "grouped_mm": "_grouped_mm",
                               "segment_reduce": "_segment_reduce"})
_SPACES = ("linalg", "special", "fft")  # in torch._C._linalg.linalg_det and the like
_AS_METHODS = ("nn.functional.sigmoid", "nn.functional.tanh")  # these call the method


def _spelling(form: Any) -> str | None:
    """By which of its names an operation's function is to be called, without `torch.`; None for other functions."""
    operation = operation_of(form)
    if operation is None:
        return None
    names = [name for name, found in operation.spellings.items() if found is form]
    if not names:
        return operation.name
    # A function rather than the method that is the same object; torch.erf rather than torch.special.erf.
    return min(names, key=lambda name: (name.startswith("Tensor."), name.startswith(_SPACES),
                                        name != operation.name))


def torch_path(form: Any) -> str | None:
    """Where PyTorch finds an operation: `torch._C._nn.linear`. None if it is none."""
    return _path_of(form) if operation_of(form) is not None else None


@functools.cache
def _path_of(form: Any) -> str:
    spelling = _spelling(form) or ""
    space, _, name = spelling.rpartition(".")
    shown = _OTHERWISE.get(name, name)
    if space == "nn.functional":
        return ("torch._C._nn." if name in _IN_NN else "torch." if name in _IN_TORCH else
                "torch.nn.functional.") + shown
    if space in _SPACES:
        return f"torch._C._{space}.{space}_{name}"
    if not space and name in _IN_FUNCTIONAL:
        return "torch.functional." + name
    return f"torch.{space}{'.' if space else ''}{shown}"


def _split(tensor: Any, split_size_or_sections: Any, dim: int = 0) -> Any:
    """Has the signature of `torch.split`, whose other spelling is Facula's business."""


def _in_python(form: Any) -> inspect.Signature | None:
    """The signature of a function that PyTorch has written in Python."""
    path = torch_path(form)
    if path == "torch.functional.split":
        return inspect.signature(_split)
    if path and path.startswith(("torch.nn.functional.", "torch.functional.")):
        return signature_of(form)
    return None


def as_reported(form: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call as PyTorch tells them to `__torch_function__`: functions written in Python give each
    that has a default by its name."""
    signature = _in_python(form)
    if signature is None:
        return args, kwargs
    if torch_path(form) == "torch.functional.einsum" and len(args) == 2 and isinstance(args[1], (list, tuple)):
        args = (args[0], *args[1])
    try:
        given = signature.bind(*args, **kwargs)
    except TypeError:  # other names of arguments, or a mistake: as it was written
        return args, kwargs
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional += given.arguments.get(name, ())
        elif parameter.kind is parameter.VAR_KEYWORD:
            named |= given.arguments.get(name, {})
        elif parameter.default is parameter.empty:
            positional.append(given.arguments[name])
        elif any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values()):
            if name in given.arguments:
                named[name] = given.arguments[name]
        else:
            named[name] = given.arguments.get(name, parameter.default)
    return tuple(positional), named


# Operators that PyTorch reports as the method that they come to.
_AS_NAMED = MappingProxyType({"__pow__": "pow", "__eq__": "eq", "__ne__": "ne", "__mod__": "remainder"})


@functools.cache
def _methods() -> dict[int, str]:
    """Names of Tensor's methods; of several that are one function, that which it has itself."""
    found: dict[int, str] = {}
    for name, value in vars(Tensor).items():
        if callable(value) and (id(value) not in found or getattr(value, "__name__", "") == name):
            found[id(value)] = _AS_NAMED.get(name, name)
    return found


def method_name(form: Any, args: tuple[Any, ...]) -> str | None:
    """The name of the method of Tensor that a reported function is, or None.

    Where function and method are one object, a call whose first argument is a tensor was an operator or a method (one
    whose first argument is a Proxy is recorded by the Proxy itself if it is a method).
    """
    spelling = _spelling(form)
    if spelling in _AS_METHODS:
        return spelling.rpartition(".")[2]
    name = _methods().get(id(form))
    own = getattr(getattr(operation_of(form), "body", None), "__name__", "")
    if METHODS.get(own) is form:
        name = own
    if name is None:
        return "__get__" if getattr(form, "__name__", "") == "__get__" and overrides.resolve_name(form) else None
    if spelling is not None and not spelling.startswith("Tensor."):
        return name if args and isinstance(args[0], Tensor) else None
    return name


def qualified_name(func: Callable[..., Any]) -> str:
    """The name by which generated code calls a function: `torch.relu`, `math.sqrt`, `getattr`."""
    name = getattr(func, "__name__", None)
    if name is None:
        name = func.__name__ = type(func).__name__
    if getattr(builtins, name, None) is func:
        return str(name)
    path = torch_path(func) if callable(func) else None
    if path is not None:
        return path
    module = _module_of(func, name)
    if module.partition(".")[0] == "facula":
        for space in ("", "nn.functional"):
            holder = resolved(f"torch.{space}" if space else "torch")
            if vars(holder).get(name) is func:
                return f"torch.{space}{'.' if space else ''}{name}"
        module = "torch" + module[len("facula"):]
    if module == "torch" and isinstance(getattr(Tensor, name, None), type(func)):
        return f"torch.Tensor.{name}"
    if "<lambda>" in str(name):
        try:
            source = inspect.getsource(func).strip()
        except (OSError, TypeError) as error:
            raise RuntimeError("Unable to represent lambda") from error
        return f"{module}.{source}"
    return f"{module}.{name}"


def _module_of(func: Any, name: str) -> str:
    module = getattr(func, "__module__", None)
    if module is not None:
        return str(module)
    for guess in (facula, facula.nn.functional):
        if getattr(guess, name, None) is func:
            return str(guess.__name__)
    raise RuntimeError(f"cannot find module for {func}")


def resolved(path: str) -> Any:
    """What stands under `torch.x.y`; raises AttributeError."""
    found: Any = facula
    for part in path.split(".")[1:]:
        if not part.isidentifier():
            raise AttributeError(path)
        try:
            found = getattr(found, part)
        except AttributeError:
            below = sys.modules.get(f"{getattr(found, '__name__', '')}.{part}")
            if below is None:
                raise
            found = below
    return found


def is_from_torch(obj: Any) -> bool:
    """Can generated code write it as `torch.x.y`?"""
    module = getattr(obj, "__module__", None)
    if module is None:
        return False
    if str(module).partition(".")[0] not in ("facula", "torch"):
        return False
    if not callable(obj):
        return False
    try:
        found = resolved(qualified_name(obj))
    except (AttributeError, RuntimeError):
        return False
    return found is obj or torch_path(obj) is not None


def same_call(one: Any, other: Any) -> bool:
    """Are two functions forms of one operation (`torch.conv2d` and `F.conv2d`)?"""
    return one is other or operation_of(one) is not None and operation_of(one) is operation_of(other)


def called(target: Any) -> str:
    """The name that a node is named after: `linalg_det` of `torch.linalg.det`."""
    path = torch_path(target)
    return path.rpartition(".")[2] if path is not None else str(getattr(target, "__name__", type(target).__name__))


