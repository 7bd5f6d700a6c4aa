"""The parametrizations of one tensor, and the tensors that are trained instead of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import facula
from facula._tensor.handle import Tensor
from facula.nn.modules.container import ModuleList
from facula.nn.modules.module import Module
from facula.nn.parameter import Parameter


def register_tensor(module: Module, name: str, tensor: Tensor) -> None:
    """A parameter if it is one, else a buffer."""
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


class ParametrizationList(ModuleList):
    """Parametrizations of one tensor, in order, and what they start from: `original`, or `original0`, `original1`...

    Called without arguments it gives the tensor's value. `right_inverse(value)` sets what is trained so that the value
    comes of it; it goes through the `right_inverse` of each parametrization, the last first.
    """

    original: Any
    unsafe: bool

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, of = original.shape, original.dtype
        with facula.no_grad():
            new: Any = original
            for module in reversed(list(self)):
                inverse = getattr(module, "right_inverse", None)
                if inverse is None:
                    continue
                try:
                    new = inverse(new)
                except NotImplementedError:
                    pass  # it has none for this value: what is trained starts from the value itself
        one = isinstance(new, Tensor)
        if not one and not isinstance(new, Sequence):
            raise ValueError("'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). Got "
                             f"{type(new).__name__}")
        self.is_tensor = one
        self.ntensors = 1 if self.is_tensor else len(new)
        if self.is_tensor:
            if of is not new.dtype:
                raise ValueError(
                    "When `right_inverse` outputs one tensor, it may not change the dtype.\n"
                    f"original.dtype: {of}\nright_inverse(original).dtype: {new.dtype}")
            if original.device != new.device:
                raise ValueError(
                    "When `right_inverse` outputs one tensor, it may not change the device.\n"
                    f"original.device: {original.device}\nright_inverse(original).device: {new.device}")
            before = original.data
            with facula.no_grad():  # the parameter itself stays: an optimizer may know it
                original.data = new.detach()
            register_tensor(self, "original", original)
        else:
            for k, part in enumerate(new):
                if not isinstance(part, Tensor):
                    raise ValueError("'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                                     f"Got element {k} of the sequence with type {type(part).__name__}.")
                if isinstance(original, Parameter):
                    part = Parameter(part.detach(), original.requires_grad)
                register_tensor(self, f"original{k}", part)
        if not unsafe:
            try:
                self._check_value(shape, of)
            except BaseException:
                if self.is_tensor:
                    original.data = before
                raise

    def _check_value(self, shape: Any, of: Any) -> None:
        value = self()
        if not isinstance(value, Tensor):
            raise ValueError(f"A parametrization must return a tensor. Got {type(value).__name__}.")
        if value.dtype is not of:
            raise ValueError(
                "Registering a parametrization may not change the dtype of the tensor, unless `unsafe` flag is "
                f"enabled.\nunparametrized dtype: {of}\nparametrized dtype: {value.dtype}")
        if value.shape != shape:
            raise ValueError(
                "Registering a parametrization may not change the shape of the tensor, unless `unsafe` flag is "
                f"enabled.\nunparametrized shape: {shape}\nparametrized shape: {value.shape}")

    def add(self, parametrization: Module, name: str, value: Tensor, unsafe: bool) -> None:
        """One more after those that are here. `value`: what they give now. One that is refused changes nothing."""
        if not unsafe:
            with facula.no_grad():
                out = parametrization(value)
                if not isinstance(out, Tensor):
                    raise ValueError(f"A parametrization must return a tensor. Got {type(out).__name__}.")
                _check_kept(value, out, f"parametrization(module.{name})", name, "Registering a parametrization may "
                            "not change the {what} of the tensor, unless the `unsafe` flag is enabled.")
                inverse = getattr(parametrization, "right_inverse", None)
                back = value if inverse is None else inverse(out)
            if not isinstance(back, Tensor):
                raise ValueError(f"parametrization.right_inverse must return a tensor. Got: {type(back).__name__}")
            _check_kept(value, back, "returned", name, "The tensor returned by parametrization.right_inverse must have "
                        f"the same {{what}} as module.{name}, unless the `unsafe` flag is enabled.")
        self.append(parametrization)
        self.unsafe = self.unsafe or unsafe

    def right_inverse(self, value: Any) -> None:
        """Set the originals so that the tensor's value becomes `value`.

        Raises:
            RuntimeError: if a parametrization has no `right_inverse`.
            ValueError: if a `right_inverse` gives another type, or another number of tensors, than the originals have.
        """
        with facula.no_grad():
            for module in reversed(list(self)):
                inverse = getattr(module, "right_inverse", None)
                if inverse is None:
                    raise RuntimeError(f"parametrization {type(module).__name__} does not implement right_inverse.")
                value = inverse(value)
            if self.is_tensor:
                self._put("original", value, "`right_inverse` should return a tensor. Got", "while `original` has")
                return
            if not isinstance(value, Sequence):
                raise ValueError(f"'right_inverse' must return a sequence of tensors. Got {type(value).__name__}.")
            if len(value) != self.ntensors:
                raise ValueError("'right_inverse' must return a sequence of tensors of length "
                                 f"{self.ntensors}. Got a sequence of length {len(value)}.")
            for k, tensor in enumerate(value):
                self._put(f"original{k}", tensor, f"`right_inverse` must return a sequence of tensors. Got element {k} "
                          "of type", f"while `original{k}` has")

    def _put(self, name: str, value: Any, expected: str, beside: str) -> None:
        original = getattr(self, name)
        if not isinstance(value, Tensor):
            raise ValueError(f"{expected} {type(value).__name__}")
        if original.dtype is not value.dtype:
            raise ValueError(f"Tensor `right_inverse({name})` has dtype {value.dtype} {beside} dtype {original.dtype}")
        original.data = value.detach()  # the memory itself: what is trained then is what was assigned, as in PyTorch

    def forward(self) -> Any:
        if self.is_tensor:
            value = self[0](self.original)
        else:
            value = self[0](*[getattr(self, f"original{k}") for k in range(self.ntensors)])
        for k in range(1, len(self)):
            value = self[k](value)
        return value


def _check_kept(value: Tensor, found: Tensor, words: str, name: str, message: str) -> None:
    if found.dtype is not value.dtype:
        raise ValueError(f"{message.format(what='dtype')}\nmodule.{name}.dtype: {value.dtype}\n"
                         f"{_of(words, 'dtype')}: {found.dtype}")
    if found.shape != value.shape:
        raise ValueError(f"{message.format(what='shape')}\nmodule.{name}.shape: {value.shape}\n"
                         f"{_of(words, 'shape')}: {found.shape}")


def _of(words: str, what: str) -> str:
    return f"{words} {what}" if words == "returned" else f"{words}.{what}"
