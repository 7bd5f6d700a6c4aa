"""A call with DTensors: by its rule it becomes a call with this rank's pieces."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import facula
from facula import overrides
from facula._tensor.handle import Tensor
from facula.distributed.tensor._arguments import exchanged, tensors_in
from facula.distributed.tensor._dtensor import DTensor, laid, local_of, made
from facula.distributed.tensor._layout import Placements
from facula.distributed.tensor._moving import of_gradient, spread
from facula.distributed.tensor._rules import Rule, chosen
from facula.distributed.tensor.placement_types import Replicate
from facula.errors import warn
from facula.ops.listening import subclasses_quiet

Maker = Callable[[str, list[DTensor], Any, Any], Rule]
MAKERS: dict[str, Maker] = {}  # name of an operation -> its rule
COMPOSED: dict[str, Callable[..., Any]] = {}  # name of an operation -> what it is made of
_names: dict[int, tuple[Any, str]] = {}
_told: set[str] = set()
implicit: list[bool] = []  # not empty: plain tensors count as whole on each rank

# Asked of shape and dtype alone.
_DESCRIBED = frozenset(("size", "dim", "ndim", "numel", "nelement", "is_floating_point", "is_complex", "is_signed",
                        "element_size", "itemsize", "nbytes", "__len__", "ndimension", "is_conj", "is_neg"))
# Asked of what this rank has.
_HERE = frozenset(("device", "layout", "is_leaf", "grad_fn", "is_sparse", "is_meta", "retains_grad", "is_cpu",
                   "is_cuda", "is_quantized", "is_mkldnn", "is_xpu", "is_mps", "is_pinned", "is_inference", "_version",
                   "retain_grad", "output_nr", "is_nested", "is_sparse_csr", "get_device", "is_xla", "is_ipu",
                   "is_vulkan", "is_maia", "is_mtia", "names", "share_memory_", "is_shared", "dtype",
                   "_is_view", "requires_grad"))
# Values for the program: the whole tensor is put together.
_VALUES = frozenset(("item", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__", "__complex__",
                     "__array__", "__contains__", "equal", "allclose", "is_nonzero", "__format__"))


def name_of(func: Any) -> str:
    """What an operation is called: `add`, `__rsub__`, `T`, `add_`."""
    known = _names.get(id(func))
    if known is None:
        path: Any = overrides.resolve_name(func) or getattr(func, "__name__", repr(func))
        parts: list[str] = path.split(".")
        name = parts[-2] if parts[-1] in ("__get__", "__set__") else parts[-1]
        own = getattr(func, "__name__", name)
        known = _names[id(func)] = func, own if own.endswith("_") and not own.endswith("__") else name
    return known[1]


def _as_distributed(given: list[Any], name: str) -> list[DTensor]:
    mesh = next(t.device_mesh for t in given if isinstance(t, DTensor))
    found = []
    for t in given:
        if not isinstance(t, DTensor):
            if not implicit and t.dim():
                raise RuntimeError(f"{name}: got mixed torch.Tensor and DTensor, need to convert all torch.Tensor to "
                                   "DTensor before calling distributed operators! Use distribute_tensor, or to_local() "
                                   "of the others")
            t = made(t, mesh, (Replicate(),) * mesh.ndim, t.shape)
        elif t.device_mesh != mesh:
            raise NotImplementedError(f"{name}: DTensors on two meshes, {mesh} and {t.device_mesh}")
        found.append(t)
    return found


def called(func: Any, args: Any, kwargs: Any) -> Any:
    """The answer of DTensors to a call."""
    name = name_of(func)
    given = tensors_in((args, list(kwargs.values())))
    if name in _DESCRIBED:
        with subclasses_quiet():
            return func(*args, **kwargs)
    if name in _HERE or name in ("grad",) and func is facula.autograd.grad:
        return _here(func, name, args, kwargs)
    if name in ("backward",):
        return func(*local_of(args), **{key: local_of(value) for key, value in kwargs.items()})
    if name in _VALUES:
        whole = [t.full_tensor() if isinstance(t, DTensor) else t for t in reversed(given)]
        args, values = exchanged((args, list(kwargs.values())), whole)
        return func(*args, **dict(zip(kwargs, values, strict=True)))
    if kwargs.get("out") is not None:
        raise NotImplementedError(f"{name}: out= is not in Facula for DTensors")
    composed = COMPOSED.get(name)
    if composed is not None:
        return composed(*args, **kwargs)
    tensors = _as_distributed(given, name)
    maker = MAKERS.get(name)
    if maker is None:
        return _put_together(func, name, tensors, args, kwargs)
    return run(func, maker(name, tensors, args, kwargs), tensors, args, kwargs)


def _here(func: Any, name: str, args: Any, kwargs: Any) -> Any:
    found = func(*local_of(args), **{key: local_of(value) for key, value in kwargs.items()})
    if name != "grad":
        return found
    inputs = args[1] if len(args) > 1 else kwargs["inputs"]
    return tuple(g if g is None or not isinstance(t, DTensor) else
                 made(g, t.device_mesh, of_gradient(t.placements), t.shape)
                 for g, t in zip(found, tensors_in(inputs), strict=True))


def _put_together(func: Any, name: str, tensors: list[DTensor], args: Any, kwargs: Any) -> Any:
    """An operation without a rule: all of it on each rank."""
    if name.endswith("_") and not name.endswith("__") or "random" in name or name in _RANDOM:
        raise NotImplementedError(f"{name} of DTensors is not in Facula: use to_local() or full_tensor()")
    if name not in _told:
        _told.add(name)
        warn(f"{name} has no rule for DTensors: each rank puts the whole tensors together and computes all of it")
    rule = Rule([(None,) * t.dim() for t in tensors], [])
    return run(func, rule, tensors, args, kwargs)


_RANDOM = frozenset(("bernoulli", "multinomial", "normal", "poisson", "rand_like", "randn_like", "randint_like",
                     "rrelu", "alpha_dropout", "feature_alpha_dropout", "dropout1d", "dropout2d", "dropout3d",
                     "gumbel_softmax"))


def ready(tensor: DTensor, wanted: Placements, varies: Sequence[int]) -> Tensor:
    """What this rank has of an input in the layout that is wanted. `varies`: the mesh's dimensions along which each
    rank computes something else."""
    moved = laid(tensor, wanted)
    return spread(moved._local, moved.device_mesh, moved.shape, wanted,
                  [dim for dim in varies if isinstance(wanted[dim], Replicate)])


def run(func: Any, rule: Rule, tensors: list[DTensor], args: Any, kwargs: Any) -> Any:
    """Call with this rank's pieces."""
    mesh = tensors[0].device_mesh
    several: bool = len(rule.outputs) > 1
    wanted, gives = chosen(rule, tensors)
    varies = [dim for dim in range(mesh.ndim) if any(not isinstance(w[dim], Replicate) for w in wanted)]  # type: ignore
    pieces = [ready(t, w, varies) for t, w in zip(tensors, wanted, strict=True)]  # type: ignore[arg-type]
    if rule.call is not None:
        result = rule.call(pieces, gives[0])
    else:
        changed, values = exchanged((args, list(kwargs.values())), pieces[::-1])
        result = func(*changed, **dict(zip(kwargs, values, strict=True)))
    if rule.keeps_first:
        return tensors[0]
    sizes = {label: size for labels, t in zip(rule.inputs, tensors, strict=True)
             for label, size in zip(labels, t.shape, strict=True) if label is not None}
    number = [0]

    def wrapped(local: Any) -> Any:
        if isinstance(local, Tensor):
            if not rule.outputs:
                return made(local, mesh, (Replicate(),) * mesh.ndim, local.shape)
            at = min(number[0], len(rule.outputs) - 1) if several else 0
            number[0] += 1
            shape = rule.shapes[at] if rule.shapes is not None else [
                sizes[label] if label is not None and label in sizes else size
                for label, size in zip(rule.outputs[at], local.shape, strict=True)]
            return made(local, mesh, gives[at], shape)  # type: ignore[arg-type]
        if isinstance(local, (list, tuple)) and type(local).__name__ != "Size":
            parts = [wrapped(part) for part in local]
            return type(local)(*parts) if hasattr(local, "_fields") else type(local)(parts)
        return local
    return wrapped(result)


def count_of(shape: Sequence[int], dims: Sequence[int]) -> int:
    """How many elements those dimensions have."""
    return math.prod(shape[d] for d in dims)


DTensor._answer = staticmethod(called)
