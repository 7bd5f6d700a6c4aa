"""`torch.ops.aten`: the operations under the names that PyTorch's dispatcher has for them.

`aten.mm` is a packet, `aten.mm.default` one of its overloads; both are the public operation. What listens below the
public names (`utils._python_dispatch.TorchDispatchMode`, selective checkpointing) is told these overloads, one for each
public call: `aten.linear.default`, where PyTorch has gone on to `aten.t.default` and `aten.addmm.default`.

Example:
    >>> import facula
    >>> facula.ops.aten.mm.default(facula.ones(1, 2), facula.ones(2, 1))
    tensor([[2.]])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula._tensor.handle import Tensor
from facula.ops import op

Call = tuple[Any, tuple[Any, ...], dict[str, Any]]

_TENSOR = frozenset((
    "add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_", "bitwise_and", "bitwise_or", "bitwise_xor", "split",
    "index"))
_BY_OPERAND = frozenset((  # a tensor or a number
    "eq", "ne", "lt", "le", "gt", "ge", "remainder", "fmod", "rsub", "masked_fill", "masked_fill_", "fill", "fill_"))
_NAMED = {"transpose": "int", "transpose_": "int", "select": "int", "unbind": "int", "softmax": "int",
          "log_softmax": "int", "var": "correction", "std": "correction", "where": "self", "empty": "memory_format",
          "slice": "Tensor"}
_QUERIES = frozenset((
    "size", "dim", "numel", "nelement", "stride", "storage_offset", "is_contiguous", "is_floating_point", "is_complex",
    "is_signed", "element_size", "data_ptr", "get_device", "type", "requires_grad_", "retain_grad", "register_hook",
    "register_post_accumulate_grad_hook", "backward", "tolist", "numpy", "is_tensor", "is_shared", "untyped_storage",
    "storage", "is_pinned", "is_set_to", "ndimension", "_is_view", "result_type", "can_cast"))
_DUNDERS = {"__rsub__": "rsub", "__pow__": "pow", "__floordiv__": "floor_divide", "__mod__": "remainder",
            "__invert__": "bitwise_not", "__and__": "bitwise_and", "__or__": "bitwise_or", "__xor__": "bitwise_xor",
            "__ipow__": "pow_", "__eq__": "eq", "__ne__": "ne"}
# Forms whose first two arguments are the other way round than those of the function in `torch`.
_OTHER_ORDER = frozenset(("Tensor.where", "Tensor.polygamma"))
# What is made of others, which listeners are told of instead.
COMPOSED = frozenset(("nn.functional.multi_head_attention_forward",))


class AtenOverload:
    """`torch.ops.aten.NAME.OVERLOAD`: the same object whenever it is asked for. The overload `functional` is that of
    `torch.nn.functional`, where its arguments are others than those of the function in `torch`."""

    def __init__(self, packet: AtenPacket, overload: str) -> None:
        self.overloadpacket, self._overloadname = packet, overload
        self.__name__ = f"{packet.__name__}.{overload}"
        self.namespace = "aten"
        self.__module__ = "torch.ops.aten"
        self.tags: list[Any] = []

    def name(self) -> str:
        """`aten::NAME.OVERLOAD`, without `.default`."""
        tail = "" if self._overloadname == "default" else f".{self._overloadname}"
        return f"aten::{self.overloadpacket.__name__}{tail}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._overloadname == "functional":
            return op.NAMESPACES["nn.functional"][self.overloadpacket.__name__](*args, **kwargs)
        return self.overloadpacket(*args, **kwargs)

    def __deepcopy__(self, memo: Any) -> AtenOverload:
        return self

    def __reduce__(self) -> Any:
        return _overload_named, (self.overloadpacket.__name__, self._overloadname)

    def __repr__(self) -> str:
        return f"<OpOverload(op='aten.{self.overloadpacket.__name__}', overload='{self._overloadname}')>"

    def __str__(self) -> str:
        return f"aten.{self.__name__}"


class AtenPacket:
    """`torch.ops.aten.NAME`: its overloads are its attributes."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.__name__, self._function = name, function
        self._overloads: dict[str, AtenOverload] = {}

    def __getattr__(self, overload: str) -> AtenOverload:
        if overload.startswith("_"):
            raise AttributeError(overload)
        return self._overloads.setdefault(overload, AtenOverload(self, overload))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<OpOverloadPacket(op='aten.{self.__name__}')>"

    __str__ = __repr__


def _refusing(name: str) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"torch.ops.aten.{name} is a name only in Facula: call the public operation")
    return refuse


# What PyTorch's public operations go on to: names that policies and tables of programs have.
_NAMES_ONLY = frozenset((
    "convolution", "convolution_backward", "native_layer_norm", "native_batch_norm", "native_group_norm",
    "native_dropout", "max_pool2d_with_indices", "nll_loss_forward", "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention", "_scaled_dot_product_flash_attention_for_cpu",
    "_flash_attention_forward", "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable", "_efficient_attention_forward", "_scaled_mm",
    "upsample_nearest2d", "upsample_bilinear2d"))
_REDUCTIONS = ("none", "mean", "sum")
_OWN: dict[str, Callable[..., Any]] = {
    "_softmax": lambda x, dim, half_to_float=False: x.softmax(dim),
    "_log_softmax": lambda x, dim, half_to_float=False: x.log_softmax(dim),
    "_to_copy": lambda x, **options: x.to(**options, copy=True),
    "_unsafe_view": lambda x, size: x.view(size),
    "_local_scalar_dense": lambda x: x.item(),
    "rsub": lambda x, other, alpha=1: other - x if alpha == 1 else other - x * alpha,
    "index": lambda x, indices: x[tuple([slice(None) if i is None else i for i in indices])],
    "slice": lambda x, dim=0, start=None, end=None, step=1: x[(*(slice(None),) * (dim % x.dim()),
                                                               slice(start, end, step))],
    "lift_fresh": lambda x: x,
    "alias": lambda x: x.view_as(x),
    "sym_size": lambda x, dim: x.shape[dim],
    "numpy_T": lambda x: x.T,
    "mT": lambda x: x.mT,
    "mH": lambda x: x.mH,
    "lift_fresh_copy": lambda x: x.clone(),
    "log_sigmoid": lambda x: op.NAMESPACES["nn.functional"]["logsigmoid"](x),
    "nll_loss_nd": lambda x, target, weight=None, reduction=1, ignore_index=-100:
    op.NAMESPACES["nn.functional"]["nll_loss"](x, target, weight, ignore_index=ignore_index,
                                               reduction=_REDUCTIONS[reduction]),
    "matrix_H": lambda x: x.H,
    "real": lambda x: x.real,
    "imag": lambda x: x.imag,
    "split_with_sizes": lambda x, sizes, dim=0: x.split(sizes, dim),
    "index_put_": lambda x, indices, values, accumulate=False: _put(x, indices, values, accumulate),
    "_assert_scalar": lambda condition, message: _assert_scalar(condition, message),
    "mse_loss": lambda *args, **kwargs: _loss("mse_loss", *args, **kwargs),
    "l1_loss": lambda *args, **kwargs: _loss("l1_loss", *args, **kwargs),
    "cross_entropy_loss": lambda x, target, weight=None, reduction=1, ignore_index=-100, label_smoothing=0.0:
    op.NAMESPACES["nn.functional"]["cross_entropy"](x, target, weight, ignore_index=ignore_index,
                                                    reduction=_REDUCTIONS[reduction], label_smoothing=label_smoothing),
}


def _loss(name: str, x: Any, target: Any, reduction: Any = 1, **options: Any) -> Any:
    reduction = reduction if isinstance(reduction, str) else _REDUCTIONS[reduction]
    return op.NAMESPACES["nn.functional"][name](x, target, reduction=reduction, **options)


def _put(x: Any, indices: Any, values: Any, accumulate: bool) -> Any:
    if accumulate or all(index is not None for index in indices):
        return op.METHODS["index_put_"](x, tuple(indices), values, accumulate)
    x[tuple([slice(None) if index is None else index for index in indices])] = values
    return x


def _assert_scalar(condition: Any, message: str) -> None:
    if not condition:
        raise RuntimeError(message)


class AtenNamespace:
    """`torch.ops.aten`."""

    def __init__(self) -> None:
        self._packets: dict[str, AtenPacket] = {}

    def __getattr__(self, name: str) -> AtenPacket:
        if name.startswith("__"):
            raise AttributeError(name)
        found = self._packets.get(name)
        if found is None:
            function = _function(name)
            if function is None:
                raise AttributeError(f"'_OpNamespace' 'aten' object has no attribute '{name}'")
            found = self._packets.setdefault(name, AtenPacket(name, function))
        return found

    def __repr__(self) -> str:
        return "<module 'torch.ops.aten'>"


def _function(name: str) -> Callable[..., Any] | None:
    if name in _OWN:
        return _OWN[name]
    found = op.FUNCTIONS.get(name) or op.METHODS.get(name) or op.NAMESPACES["nn.functional"].get(name)
    if found is None and "_" in name:
        space, _, rest = name.partition("_")
        found = op.NAMESPACES.get(space, {}).get(rest)
    if found is None and name in _NAMES_ONLY:
        return _refusing(name)
    return found


aten = AtenNamespace()


def offer(name: str, function: Callable[..., Any]) -> None:
    """Have `torch.ops.aten.NAME` be a function that is defined above the operations."""
    _OWN[name] = function


def _overload_named(name: str, overload: str) -> AtenOverload:
    return getattr(getattr(aten, name), overload)  # type: ignore[no-any-return]


def overload_of(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
    """The overload that a public call comes to, and its arguments; None of what is no operation. `name`: as
    `overrides.resolve_name` has it."""
    base = name.removeprefix("torch.")
    if base.endswith((".__get__", ".__set__")):
        return None
    if base == "nn.functional.embedding":
        return _embedding(*args, **kwargs)
    if base in _OTHER_ORDER and len(args) >= 2:
        args = (args[1], args[0], *args[2:])
    elif base in ("nn.functional.batch_norm", "nn.functional.instance_norm"):
        return getattr(aten, base.removeprefix("nn.functional.")).functional, args, kwargs
    base = base.removeprefix("Tensor.").removeprefix("nn.functional.").replace(".", "_", 1)
    if base in _QUERIES:
        return None
    if base == "item":
        return aten._local_scalar_dense.default, args, kwargs
    if base == "__getitem__":
        return _item(*args)
    if base == "__rpow__":
        return aten.pow.Scalar, (args[1], args[0]), kwargs
    if base == "matmul" and len(args) == 2:
        ranks = tuple([t.dim() for t in args])
        exact = {(2, 2): "mm", (3, 3): "bmm", (2, 1): "mv", (1, 1): "dot"}.get(ranks)
        if exact is not None and (exact != "bmm" or args[0].shape[0] == args[1].shape[0]):
            return getattr(aten, exact).default, args, kwargs
    base = _DUNDERS.get(base, base)
    if base.startswith("__") or _function(base) is None:
        return None
    return getattr(getattr(aten, base), _overload(base, args, kwargs)), args, kwargs


def _embedding(input: Any, weight: Any, padding_idx: Any = None, max_norm: Any = None, norm_type: float = 2.0,
               scale_grad_by_freq: bool = False, sparse: bool = False) -> Call:
    if max_norm is not None:  # which writes into the weight
        return (aten.embedding.functional,
                (input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse), {})
    return aten.embedding.default, (weight, input, -1 if padding_idx is None else padding_idx, scale_grad_by_freq,
                                    sparse), {}


def _overload(base: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    other = args[1] if len(args) > 1 else kwargs.get("other", kwargs.get("exponent"))
    if base in _TENSOR:
        return "Tensor"
    if base.startswith("masked_fill") and len(args) > 2:
        other = args[2]
    if base in _BY_OPERAND:
        return "Tensor" if isinstance(other, Tensor) else "Scalar"
    if base in ("pow", "pow_"):
        second = "Tensor" if isinstance(other, Tensor) else "Scalar"
        return f"Tensor_{second}" if base == "pow" else second
    reduced = other is not None or "dim" in kwargs
    if base in ("sum", "nansum"):
        return "dim_IntList" if reduced else "default"
    if base in ("mean", "max", "min", "all", "any", "prod"):
        return "other" if isinstance(other, Tensor) else "dim" if reduced else "default"
    return _NAMED.get(base, "default")


def _item(x: Any, index: Any) -> Call | None:
    if isinstance(index, bool) or index is None or index is Ellipsis or isinstance(index, tuple):
        return None
    if isinstance(index, int):
        return aten.select.int, (x, 0, index), {}
    if isinstance(index, slice):
        return aten.slice.Tensor, (x, 0, index.start, index.stop, index.step or 1), {}
    return (aten.index.Tensor, (x, [index]), {}) if isinstance(index, Tensor) else None


def main_of(overload: AtenOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AtenOverload:
    """The overload that does most of the work where PyTorch takes an operation apart: what its users write down."""
    base = overload.overloadpacket.__name__
    if base == "linear":
        return aten.addmm.default if len(args) > 2 and args[2] is not None or kwargs.get("bias") is not None \
            else aten.mm.default
    if base == "matmul":
        return aten.mm.default if len(args) > 1 and args[1].dim() == 2 else aten.bmm.default
    if base.startswith(("conv1d", "conv2d", "conv3d", "conv_transpose")):
        return aten.convolution.default
    known = {"softmax": aten._softmax, "log_softmax": aten._log_softmax, "layer_norm": aten.native_layer_norm,
             "group_norm": aten.native_group_norm, "batch_norm": aten.native_batch_norm, "baddbmm": aten.bmm,
             "scaled_dot_product_attention": aten._scaled_dot_product_flash_attention_for_cpu,
             "max_pool2d": aten.max_pool2d_with_indices, "dropout": aten.native_dropout}.get(base)
    return overload if known is None else known.default
