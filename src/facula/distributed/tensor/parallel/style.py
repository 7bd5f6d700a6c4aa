"""Styles: how a module's parameters lie, and what its inputs and outputs are turned into."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import facula
from facula.distributed.device_mesh import DeviceMesh
from facula.distributed.tensor._creating import distribute_tensor
from facula.distributed.tensor._dtensor import DTensor
from facula.distributed.tensor.placement_types import Placement, Replicate, Shard

__all__ = ["ColwiseParallel", "ParallelStyle", "PrepareModuleInput", "PrepareModuleInputOutput", "PrepareModuleOutput",
           "RowwiseParallel", "SequenceParallel"]

nn = facula.nn


class ParallelStyle(ABC):
    """What `parallelize_module` does to a module. Derive from it and define `_apply(module, device_mesh)`."""

    src_data_rank: int | None = 0

    @abstractmethod
    def _apply(self, module: Any, device_mesh: DeviceMesh) -> Any: ...


def _put(module: Any, mesh: DeviceMesh, layouts: dict[str, Placement], src: int | None) -> None:
    """Have a module's own parameters lie so."""
    for name, parameter in list(module._parameters.items()):
        if parameter is not None and not isinstance(parameter, DTensor):
            found = distribute_tensor(parameter.detach(), mesh, [layouts.get(name, Replicate())], src_data_rank=src)
            module.register_parameter(name, nn.Parameter(found, parameter.requires_grad))


def _entering(value: Any, mesh: DeviceMesh, given: Placement | None, wanted: Placement | None) -> Any:
    """An input as a DTensor that lies as wanted."""
    if given is None or not isinstance(value, facula.Tensor):
        return value
    if not isinstance(value, DTensor):
        value = DTensor.from_local(value, mesh, [given], run_check=False)
    return value if wanted is None else value.redistribute(placements=[wanted])


def _leaving(value: Any, mesh: DeviceMesh, given: Placement, wanted: Placement, local: bool) -> Any:
    """An output in the layout that is wanted, as a tensor of this rank's or a DTensor."""
    if not isinstance(value, DTensor):
        value = DTensor.from_local(value, mesh, [given], run_check=False)
    value = value.redistribute(placements=[wanted])
    return value.to_local() if local else value


def _first(layout: Any) -> Any:
    return layout[0] if isinstance(layout, (tuple, list)) else layout


class _Cut(ParallelStyle):
    """Layers whose weight is in pieces."""

    _inputs: Placement
    _outputs: Placement
    _wanted: Callable[[Any], Placement]
    _layouts: dict[type, dict[str, Placement]]

    def __init__(self, *, input_layouts: Any = None, output_layouts: Any = None, use_local_output: bool = True) -> None:
        self.input_layouts = (_first(input_layouts) or self._inputs,)
        self.output_layouts = (_first(output_layouts) or self._outputs,)
        self.use_local_output = use_local_output

    def _apply(self, module: Any, device_mesh: DeviceMesh) -> Any:
        kind = next((k for k in self._layouts if isinstance(module, k)), None)
        if kind is None:
            raise NotImplementedError(f"{type(self).__name__} currently only support nn.Linear and nn.Embedding, got "
                                      f"{type(module).__name__}")
        _put(module, device_mesh, self._layouts[kind], self.src_data_rank)
        wanted = type(self)._wanted(module)

        def enter(_: Any, inputs: tuple[Any, ...]) -> Any:
            return (_entering(inputs[0], device_mesh, self.input_layouts[0], wanted), *inputs[1:])

        def leave(_: Any, inputs: Any, output: Any) -> Any:
            return _leaving(output, device_mesh, self.output_layouts[0], self.output_layouts[0], self.use_local_output)
        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)
        return module

    def __repr__(self) -> str:
        return (f"{type(self).__name__}(input_layouts={self.input_layouts}, output_layouts={self.output_layouts}, "
                f"use_local_output={self.use_local_output})")


class ColwiseParallel(_Cut):
    """Each rank has some of a layer's outputs (`Linear`: rows of the weight; `Embedding`: columns of the table).

    Args:
        input_layouts: how inputs lie that are no DTensors; `Replicate()` unless told.
        output_layouts: how outputs lie; `Shard(-1)` unless told.
        use_local_output: hand on this rank's tensor, and no DTensor.
    """

    _inputs, _outputs = Replicate(), Shard(-1)
    _wanted = staticmethod(lambda module: Replicate())
    _layouts = {nn.Linear: {"weight": Shard(0), "bias": Shard(0)}, nn.Embedding: {"weight": Shard(1)}}


class RowwiseParallel(_Cut):
    """Each rank has some of a layer's inputs (`Linear`: columns of the weight; `Embedding`: rows of the table), and the
    outputs are added.

    Args:
        input_layouts: how inputs lie that are no DTensors; `Shard(-1)` unless told.
        output_layouts: how outputs lie; `Replicate()` unless told.
        use_local_output: hand on this rank's tensor, and no DTensor.
    """

    _inputs, _outputs = Shard(-1), Replicate()
    _wanted = staticmethod(lambda module: Shard(-1) if isinstance(module, nn.Linear) else Replicate())
    _layouts = {nn.Linear: {"weight": Shard(1), "bias": Replicate()}, nn.Embedding: {"weight": Shard(0)}}


class SequenceParallel(ParallelStyle):
    """Each rank has a part of the sequence, and all parameters: for norms and dropout.

    Args:
        sequence_dim: which dimension of the input.
        use_local_output: hand on this rank's tensor, and no DTensor.
    """

    def __init__(self, *, sequence_dim: int = 1, use_local_output: bool = False) -> None:
        self.sequence_sharding = (Shard(sequence_dim),)
        self.use_local_output = use_local_output

    def _apply(self, module: Any, device_mesh: DeviceMesh) -> Any:
        _put(module, device_mesh, {}, self.src_data_rank)
        layout = self.sequence_sharding[0]
        module.register_forward_pre_hook(
            lambda _, inputs: (_entering(inputs[0], device_mesh, layout, layout), *inputs[1:]))
        if self.use_local_output:
            module.register_forward_hook(lambda _, inputs, output: output.to_local())
        return module

    def __repr__(self) -> str:
        return (f"SequenceParallel(sequence_dim={self.sequence_sharding[0].dim}, "
                f"use_local_output={self.use_local_output})")


def _listed(layouts: Any) -> tuple[Any, ...] | None:
    return layouts if layouts is None or isinstance(layouts, tuple) else tuple(layouts) if isinstance(
        layouts, list) else (layouts,)


class PrepareModuleInput(ParallelStyle):
    """Turns a module's inputs into DTensors, and these into the layouts that it wants.

    Args:
        input_layouts: how each input lies; None leaves one as it is.
        desired_input_layouts: how the module wants it. As many as there are of `input_layouts`.
        input_kwarg_layouts, desired_input_kwarg_layouts: the same by name.
        use_local_output: hand the module this rank's tensors, and no DTensors.
    """

    def __init__(self, *, input_layouts: Any = None, desired_input_layouts: Any = None, input_kwarg_layouts: Any = None,
                 desired_input_kwarg_layouts: Any = None, use_local_output: bool = False) -> None:
        self.input_layouts, self.desired_input_layouts = _listed(input_layouts), _listed(desired_input_layouts)
        self.input_kwarg_layouts = dict(input_kwarg_layouts or {})
        self.desired_input_kwarg_layouts = dict(desired_input_kwarg_layouts or {})
        self.use_local_output = use_local_output
        if self.input_layouts is not None and (self.desired_input_layouts is None or len(self.input_layouts) != len(
                self.desired_input_layouts)):
            raise AssertionError("input_layouts and desired_input_layouts should have same length!")
        if self.input_kwarg_layouts.keys() != self.desired_input_kwarg_layouts.keys():
            raise AssertionError("input_kwarg_layouts and desired_input_kwarg_layouts should have same names!")

    def _one(self, value: Any, mesh: DeviceMesh, given: Any, wanted: Any) -> Any:
        if given is not None and not isinstance(value, facula.Tensor):
            raise AssertionError(f"expecting input to be a torch.Tensor or DTensor, but got {value!r}"[:200])
        found = _entering(value, mesh, given, wanted)
        return found.to_local() if self.use_local_output and isinstance(found, DTensor) else found

    def _apply(self, module: Any, device_mesh: DeviceMesh) -> Any:
        def enter(_: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
            if self.input_layouts is not None:
                if len(inputs) != len(self.input_layouts):
                    raise ValueError("module inputs and input_layouts should have same length!")
                assert self.desired_input_layouts is not None
                inputs = tuple(self._one(x, device_mesh, given, wanted) for x, given, wanted in zip(
                    inputs, self.input_layouts, self.desired_input_layouts, strict=True))
            for name, given in self.input_kwarg_layouts.items():
                if name in named:
                    named[name] = self._one(named[name], device_mesh, given, self.desired_input_kwarg_layouts[name])
            return inputs, named
        module.register_forward_pre_hook(enter, with_kwargs=True)
        return module


class PrepareModuleOutput(ParallelStyle):
    """Turns a module's outputs into DTensors, and these into the layouts that are wanted.

    Args:
        output_layouts: how each output lies; None leaves one as it is.
        desired_output_layouts: how it is to lie. As many as there are of `output_layouts`.
        use_local_output: hand on this rank's tensors, and no DTensors.
    """

    def __init__(self, *, output_layouts: Any, desired_output_layouts: Any, use_local_output: bool = True) -> None:
        self.output_layouts, self.desired_output_layouts = _listed(output_layouts), _listed(desired_output_layouts)
        self.use_local_output = use_local_output
        assert self.output_layouts is not None and self.desired_output_layouts is not None
        if len(self.output_layouts) != len(self.desired_output_layouts):
            raise AssertionError("output_layouts and desired_output_layouts should have same length!")

    def _apply(self, module: Any, device_mesh: DeviceMesh) -> Any:
        def leave(_: Any, inputs: Any, outputs: Any) -> Any:
            several = isinstance(outputs, (tuple, list))
            listed = tuple(outputs) if several else (outputs,)
            assert self.output_layouts is not None and self.desired_output_layouts is not None
            if len(listed) != len(self.output_layouts):
                raise ValueError("module outputs and output_layouts should have same length!")
            made = tuple(x if given is None else _leaving(x, device_mesh, given, wanted, self.use_local_output)
                         for x, given, wanted in zip(listed, self.output_layouts, self.desired_output_layouts,
                                                     strict=True))
            return made if several else made[0]
        module.register_forward_hook(leave)
        return module


class PrepareModuleInputOutput(ParallelStyle):
    """`PrepareModuleInput` and `PrepareModuleOutput` of one module."""

    def __init__(self, *, input_layouts: Any = None, desired_input_layouts: Any = None, input_kwarg_layouts: Any = None,
                 desired_input_kwarg_layouts: Any = None, use_local_input: bool = False, output_layouts: Any,
                 desired_output_layouts: Any, use_local_output: bool = True) -> None:
        self.prepare_module_input = PrepareModuleInput(
            input_layouts=input_layouts, desired_input_layouts=desired_input_layouts,
            input_kwarg_layouts=input_kwarg_layouts, desired_input_kwarg_layouts=desired_input_kwarg_layouts,
            use_local_output=use_local_input)
        self.prepare_module_output = PrepareModuleOutput(
            output_layouts=output_layouts, desired_output_layouts=desired_output_layouts,
            use_local_output=use_local_output)

    def _apply(self, module: Any, device_mesh: DeviceMesh) -> Any:
        self.prepare_module_input._apply(module, device_mesh)
        self.prepare_module_output._apply(module, device_mesh)
        return module
