"""What a program calls while it is captured: every public call comes here, and goes to the graph or is answered.

`Listener` is a mode (`ops/listening.py`). Operations go on to `Capture.call` as calls of `torch.ops.aten`; what is
asked about a tensor's shape, dtype and place is answered; what asks for its elements is refused.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import facula
from facula._higher_order_ops._operators import HigherOrderOperator
from facula._tensor.handle import Tensor
from facula.devices import CPU
from facula.devices import device as Device
from facula.engine.placing import running
from facula.engine.session import session
from facula.export import _calls, _control, _indexing
from facula.export._capture import Capture
from facula.export._cases import Again
from facula.export._traced import Missed, Traced, program_line
from facula.export._training_operations import Operation, asked_gradients, grad
from facula.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from facula.nn.recurrent import whole
from facula.ops import aten_names, op
from facula.ops.aten_names import COMPOSED, aten
from facula.ops.listening import doors, state
from facula.overrides import TorchFunctionMode, resolve_name
from facula.symbolic_numbers import _Symbolic
from facula.utils import _pytree as pytree

# What asks for elements: a graph cannot have an answer that depends on them.
_LOOKS = frozenset(("item", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__", "__complex__",
                    "__array__", "__contains__", "is_nonzero", "equal", "allclose", "data_ptr", "__reduce_ex__",
                    "untyped_storage", "storage", "__dlpack__", "__array_interface__"))
# What makes tensors of Python's data: constants of the program.
_DATA = frozenset(("tensor", "as_tensor", "asarray", "from_numpy", "frombuffer", "from_dlpack", "scalar_tensor"))
_FROM_ALL = frozenset(("size", "dim", "numel", "nelement", "ndimension"))
_TOLD = frozenset(("is_contiguous", "stride", "storage_offset", "is_floating_point", "is_complex", "is_signed",
                   "element_size", "get_device", "is_pinned", "is_conj", "is_neg", "is_inference", "dim_order",
                   "result_type", "can_cast", "_is_view", "is_shared", "is_same_size", "is_set_to", "retain_grad"))
_PLACES = ("is_cpu", "is_cuda", "is_xpu", "is_mps", "is_meta", "is_xla", "is_hpu", "is_mtia")
# What a graph never has, so that a file may not name it either.
NO_OPERATIONS = _LOOKS | _DATA - {"scalar_tensor"} | _TOLD | _FROM_ALL | frozenset((
    "apply_", "map_", "backward", "grad", "set_", "resize_", "resize_as_", "requires_grad_", "register_hook",
    "retain_grad", "register_post_accumulate_grad_hook", "share_memory_", "pin_memory", "cuda",
    "cpu", "as_subclass"))
_NETWORKS = frozenset(whole.NETWORKS.values())


# What makes a tensor of no other one, on a device that may be given.
_MAKERS = frozenset((
    "zeros", "ones", "full", "empty", "arange", "range", "linspace", "logspace", "rand", "randn", "randint", "randperm",
    "eye", "tril_indices", "triu_indices", "empty_strided", "scalar_tensor", "hann_window", "hamming_window",
    "empty_permuted", "blackman_window", "bartlett_window", "kaiser_window", "normal", "fft_fftfreq", "fft_rfftfreq"))


class Listener(TorchFunctionMode):
    """Has a capture hear what the program calls."""

    hears_networks = True

    def __init__(self, capture: Capture) -> None:
        self.capture = capture

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return isolated(self.heard, (func, args, kwargs or {}))

    def heard(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Whatever the program calls."""
        if type(func) is HigherOrderOperator:
            return self._control_flow(func, args, kwargs)
        if type(func) is Operation:
            return self._training(func, args, kwargs)
        if func in _NETWORKS and state.cast is None:
            return self.capture.call(getattr(aten, func.__name__).input, args, {})
        name = (resolve_name(func) or "").removeprefix("torch.")
        base = name.rpartition(".")[2]
        if base in ("__get__", "__set__"):
            return self._attribute(func, name.split(".")[-2], base, args)
        mine = any(isinstance(leaf, (Traced, _Symbolic)) for leaf in pytree.tree_leaves((args, kwargs)))
        if base in _LOOKS:
            if not mine:
                return func(*args, **kwargs)
            raise _data_dependent(base)
        if state.cast is not None:
            raise NotImplementedError("torch.export of a region of autocast is not in Facula yet: convert with .to()"
                                      + program_line())
        if session.traced is not None:
            raise NotImplementedError("torch.export of a program that calls vmap, jvp or another transform is not in "
                                      "Facula yet" + program_line())
        if name == "autograd.grad":
            return self._training(grad, args, kwargs)
        if base == "backward":
            raise NotImplementedError("torch.export of .backward() is not in Facula yet: gradients are captured where "
                                      "torch.autograd.grad gives them, a whole step of training by "
                                      "torch.export.training_step" + program_line())
        if base in _DATA and not (base in ("as_tensor", "asarray") and args and isinstance(args[0], Traced)):
            if mine:
                raise _data_dependent(base)
            # Each call of the program makes a new one, which it may write into.
            return self.capture.call(aten.lift_fresh_copy.default, (self.capture.constant(func(*args, **kwargs)),), {})
        return self._operation(func, name, base, args, kwargs, mine)

    def _control_flow(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """`torch.cond` and its like: kept, with the functions as graphs."""
        handler = _control.HANDLERS.get(func)
        if handler is None or state.cast is not None or session.traced is not None:
            raise NotImplementedError(f"torch.export of torch.ops.higher_order.{func}, in a region of autocast or a "
                                      f"transform, is not in Facula yet{program_line()}")
        return handler(self, False, *args, **kwargs)

    def _training(self, func: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Gradients, and an optimizer's update."""
        if session.traced is not None or state.cast is not None:
            raise NotImplementedError("torch.export of gradients in a region of autocast or a transform is not in "
                                      f"Facula yet{program_line()}")
        if func is grad:
            return self.capture.call(grad, *asked_gradients(*args, **kwargs))
        args = self.capture._lifted(args)
        if self.capture.values is not None:
            self.capture.values.updated(func, args)
        else:
            self.capture.create(func, self.capture.argument(args), {})
        return None

    def _operation(self, func: Any, name: str, base: str, args: Any, kwargs: Any, mine: bool) -> Any:
        if base in ("size", "dim", "ndimension", "numel", "nelement", "__len__") and mine:
            return _asked(base, *args, **kwargs)
        if base == "__iter__":
            return iter(self.capture.call(aten.unbind.int, (args[0],), {}))
        if base in ("__repr__", "__str__", "__format__", "__hash__", "__dir__"):
            return repr(args[0]) if base != "__hash__" else id(args[0])
        if base in ("requires_grad_", "register_hook", "register_post_accumulate_grad_hook") and mine:
            raise NotImplementedError(f"torch.export of {base} is not in Facula yet{program_line()}")
        if base in _TOLD:
            return self._told(func, base, args, kwargs) if mine else func(*args, **kwargs)
        if base == "__getitem__":
            return _indexing.item(self.capture.call, *args)
        if base == "__setitem__":
            return _indexing.set_item(self.capture.call, *args)
        if base in ("to", "type", "cpu", "cuda") and name.startswith("Tensor."):
            return self._converted(base, *args, **kwargs)
        if name in COMPOSED:  # its parts are told
            with self:
                return doors[id(func)].plain(*args, **kwargs)
        if not mine and not _is_operation(name, func):
            return func(*args, **kwargs)
        if kwargs.get("out") is not None:
            raise NotImplementedError(f"torch.export of {name}(out=) is not in Facula yet{program_line()}")
        found = _calls.canonical(func, args, {key: value for key, value in kwargs.items() if key != "out"})
        if found is None:
            raise NotImplementedError(f"torch.export of {name or func} is not in Facula yet{program_line()}")
        overload, args, kwargs = found
        return self.capture.call(overload, args, self._placed(overload, args, kwargs))

    def _placed(self, overload: Any, args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Devices as objects, and of what makes a tensor always one: the graph is run where the program would be."""
        given = dict(kwargs)
        if given.get("device") is not None:
            given["device"] = Device(given["device"])
        elif overload.overloadpacket.__name__ in _MAKERS and not any(
                isinstance(arg, Tensor) for arg in args):
            given["device"] = facula.get_default_device()
        if given.get("requires_grad") is False:
            given.pop("requires_grad")
        return given

    def _converted(self, base: str, t: Any, *args: Any, **kwargs: Any) -> Any:
        """`x.to(...)`, `x.type(...)`, `x.cpu()`."""
        if base in ("cpu", "cuda"):
            args, kwargs = (base,), {}
        options = {key: value for key, value in kwargs.items() if value is not None and value is not False}
        of, device = options.pop("dtype", None), options.pop("device", None)
        other = options.pop("other", None)
        for value in args:
            if isinstance(value, Tensor):
                other = value
            elif isinstance(value, facula.dtype):
                of = value
            elif isinstance(value, (str, Device, int)) and not isinstance(value, bool):
                device = value
        if base == "type":
            if of is None and device is None:
                return self._told(vars(Tensor)["type"], "type", (t,), {})
            if of is None:  # "torch.DoubleTensor"
                of = t.in_cases[0].type(device).dtype
            device = None
        if other is not None:
            return self.capture.call(aten.to.other, (t, other), {})
        if device is not None:
            device = Device(device)
            if of is None:
                return self.capture.call(aten.to.device, (t, device, t.dtype), options)
            return self.capture.call(aten.to.device, (t, device, of), options)
        if of is None:
            return self.capture.call(aten.to.dtype, (t, t.dtype), options)
        return self.capture.call(aten.to.dtype, (t, of), options)

    def _attribute(self, func: Any, name: str, kind: str, args: Any) -> Any:
        t = args[0]
        if not isinstance(t, Traced):
            known = self.capture.known.get(id(t))
            if known is None or kind == "__set__" or name not in ("T", "mT", "data", "H", "mH", "real"):
                return func(*args)
            t = known
        if kind == "__set__":
            raise NotImplementedError(f"torch.export of a program that assigns to .{name} is not in Facula yet"
                                      + program_line())
        if name == "device":
            return t.place
        if name in _PLACES:
            return t.place.type == name[3:]
        if name in ("shape", "grad", "grad_fn"):
            return None if name != "shape" else t.shape
        if name == "ndim":
            return len(t.in_cases[0].shape)
        if name == "nbytes":
            return _asked("numel", t) * t.dtype.itemsize
        found = _calls.canonical(func, (t,), {})
        if found is not None:
            return self.capture.call(*found)
        return self._told(func, name, args, {})

    def _told(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        """What is known of a tensor without its elements."""
        of_case = self.capture.of_case
        found: list[Any] = [func(*of_case(args, k), **of_case(kwargs, k)) for k in range(len(self.capture.cases))]
        for k, other in enumerate(found):
            if other != found[0] and name not in ("stride", "storage_offset"):
                raise Again(k, None, None, self.capture.steps, program_line(), f"the answer to .{name}")
        if any(other != found[0] for other in found):
            raise NotImplementedError(f"torch.export: .{name}() of a tensor whose sizes are open is not in Facula yet"
                                      + program_line())
        if isinstance(found[0], Tensor):
            raise NotImplementedError(f"torch.export of .{name} is not in Facula yet{program_line()}")
        return found[0]


def isolated(function: Callable[..., Any], args: Any) -> Any:
    """A call as if nothing else were running: what it is given is all there is."""
    kept = running.names, running.place, running.find, running.given
    running.names, running.place, running.find, running.given = [], None, lambda: CPU, None
    try:
        return function(*args)
    finally:
        running.names, running.place, running.find, running.given = kept


def _asked(base: str, t: Any, dim: Any = None) -> Any:
    if base in ("dim", "ndimension"):
        return len(t.in_cases[0].shape)
    shape = t.shape
    if base == "__len__":
        if not shape:
            raise TypeError("len() of a 0-d tensor")
        return shape[0]
    if base in ("numel", "nelement"):
        return functools.reduce(operator.mul, shape) if shape else 1
    if dim is None:
        return shape
    if not -max(len(shape), 1) <= dim < max(len(shape), 1) or not shape:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-(len(shape) or 1)}, "
                         f"{(len(shape) or 1) - 1}], but got {dim})")
    return shape[dim]


def _is_operation(name: str, func: Any) -> bool:
    return op.operation_of(func) is not None and aten_names._function(
        name.removeprefix("Tensor.").removeprefix("nn.functional.").replace(".", "_", 1)) is not None


def _data_dependent(what: str) -> Exception:
    if what in ("numpy", "__array__", "data_ptr", "untyped_storage", "storage", "__dlpack__"):
        return Missed(f".{what}() is not supported for tensor subclasses. torch.export writes down operations of "
                      "torch's: what leaves torch is not among them")
    told = {"__bool__": "if t: and while t:", "__index__": "range(t), and t as a size or an index",
            "__float__": "float(t)", "__int__": "int(t)", "equal": "torch.equal", "allclose": "torch.allclose",
            "tensor": "torch.tensor of what was computed"}.get(what, f".{what}()")
    return GuardOnDataDependentSymNode(
        f"Could not guard on data-dependent expression: {told} needs an element of a tensor, which is not known while "
        "the program is captured. Choose between values with torch.where, or between branches with torch.cond; keep a "
        f"number as a tensor of one element.{program_line()}")
