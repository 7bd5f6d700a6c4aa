"""What the inputs and outputs of an exported graph are: `ExportGraphSignature`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any

__all__ = ["ConstantArgument", "CustomObjArgument", "ExportBackwardSignature", "ExportGraphSignature", "InputKind",
           "InputSpec", "OutputKind", "OutputSpec", "SymBoolArgument", "SymFloatArgument", "SymIntArgument",
           "TensorArgument", "TokenArgument"]


@dataclasses.dataclass
class TensorArgument:
    """A tensor: the node of that name."""

    name: str


@dataclasses.dataclass
class TokenArgument:
    """A token, which orders effects. Facula's graphs have none."""

    name: str


@dataclasses.dataclass
class SymIntArgument:
    """An integer that is known when the graph runs: the node of that name."""

    name: str


@dataclasses.dataclass
class SymFloatArgument:
    """A float that is known when the graph runs."""

    name: str


@dataclasses.dataclass
class SymBoolArgument:
    """A bool that is known when the graph runs."""

    name: str


@dataclasses.dataclass
class CustomObjArgument:
    """An object of a program's own class. Facula's graphs have none."""

    name: str
    class_fqn: str
    fake_val: Any = None


@dataclasses.dataclass
class ConstantArgument:
    """A value that is always the same."""

    name: str
    value: int | float | bool | str | None


ArgumentSpec = Any


class InputKind(Enum):
    """What an input of a graph is."""

    USER_INPUT = 1
    PARAMETER = 2
    BUFFER = 3
    CONSTANT_TENSOR = 4
    CUSTOM_OBJ = 5
    TOKEN = 6


class OutputKind(Enum):
    """What an output of a graph is."""

    USER_OUTPUT = 1
    LOSS_OUTPUT = 2
    BUFFER_MUTATION = 3
    PARAMETER_MUTATION = 4
    GRADIENT_TO_PARAMETER = 5
    GRADIENT_TO_USER_INPUT = 6
    USER_INPUT_MUTATION = 7
    TOKEN = 8


# Of these an output is what an input is to have afterwards: they come first.
WRITTEN = frozenset((OutputKind.BUFFER_MUTATION, OutputKind.PARAMETER_MUTATION, OutputKind.USER_INPUT_MUTATION))


def _shown(arg: Any) -> str:
    return "" if isinstance(arg, ConstantArgument) else str(arg.name)


@dataclasses.dataclass
class InputSpec:
    """An input: its kind, its node, and of which parameter, buffer or constant it is (`target`)."""

    kind: InputKind
    arg: ArgumentSpec
    target: str | None
    persistent: bool | None = None

    def __post_init__(self) -> None:
        if self.kind == InputKind.BUFFER and self.persistent is None:
            raise AssertionError("Failed to specify persistent flag on BUFFER.")

    def __str__(self) -> str:
        target = "" if self.target is None else f" target='{self.target}'"
        persistent = "" if self.persistent is None else f" persistent={self.persistent}"
        return f"{_shown(self.arg)}: {self.kind.name}{target}{persistent}"


@dataclasses.dataclass
class OutputSpec:
    """An output: its kind, its node, and what is written with it (`target`)."""

    kind: OutputKind
    arg: ArgumentSpec
    target: str | None

    def __str__(self) -> str:
        target = "" if self.target is None else f" target='{self.target}'"
        return f"{_shown(self.arg)}: {self.kind.name}{target}"


@dataclasses.dataclass
class ExportBackwardSignature:
    """Which outputs are gradients. Facula's graphs have no backward pass yet."""

    gradients_to_parameters: dict[str, str]
    gradients_to_user_inputs: dict[str, str]
    loss_output: str


@dataclasses.dataclass
class ExportGraphSignature:
    """What the inputs of a graph are, in the order of its placeholders, and its outputs.

    Example:
        >>> import facula
        >>> layer = facula.nn.Linear(2, 1, bias=False)
        >>> print(facula.export.export(layer, (facula.ones(3, 2),)).graph_signature)
        <BLANKLINE>
        # inputs
        p_weight: PARAMETER target='weight'
        input: USER_INPUT
        <BLANKLINE>
        # outputs
        linear: USER_OUTPUT
        <BLANKLINE>
    """

    input_specs: list[InputSpec]
    output_specs: list[OutputSpec]

    def _inputs(self, kind: InputKind) -> list[InputSpec]:
        return [spec for spec in self.input_specs if spec.kind == kind]

    def _mapped(self, kind: InputKind) -> Mapping[str, str]:
        return MappingProxyType({spec.arg.name: spec.target or "" for spec in self._inputs(kind)})

    def _written(self, kind: OutputKind) -> Mapping[str, str]:
        return MappingProxyType({spec.arg.name: spec.target or "" for spec in self.output_specs if spec.kind == kind})

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters, in the module."""
        return tuple([spec.target or "" for spec in self._inputs(InputKind.PARAMETER)])

    @property
    def buffers(self) -> tuple[str, ...]:
        """The names of the buffers, in the module."""
        return tuple([spec.target or "" for spec in self._inputs(InputKind.BUFFER)])

    @property
    def non_persistent_buffers(self) -> set[str]:
        """Those of the buffers that are not in the state_dict."""
        return {spec.target or "" for spec in self._inputs(InputKind.BUFFER) if spec.persistent is False}

    @property
    def lifted_tensor_constants(self) -> tuple[str, ...]:
        """The names of the constants."""
        return tuple([spec.target or "" for spec in self._inputs(InputKind.CONSTANT_TENSOR)])

    @property
    def lifted_custom_objs(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def user_inputs(self) -> tuple[Any, ...]:
        """The nodes' names of what the caller gives; of a value that is no tensor the value."""
        return tuple([spec.arg.value if isinstance(spec.arg, ConstantArgument) else spec.arg.name
                      for spec in self._inputs(InputKind.USER_INPUT)])

    @property
    def user_outputs(self) -> tuple[Any, ...]:
        """The nodes' names of what the caller gets; of a value that is always the same the value."""
        return tuple([spec.arg.value if isinstance(spec.arg, ConstantArgument) else spec.arg.name
                      for spec in self.output_specs if spec.kind in (OutputKind.USER_OUTPUT, OutputKind.LOSS_OUTPUT)])

    @property
    def inputs_to_parameters(self) -> Mapping[str, str]:
        """Of a node's name the parameter's."""
        return self._mapped(InputKind.PARAMETER)

    @property
    def inputs_to_buffers(self) -> Mapping[str, str]:
        """Of a node's name the buffer's."""
        return self._mapped(InputKind.BUFFER)

    @property
    def inputs_to_lifted_tensor_constants(self) -> Mapping[str, str]:
        """Of a node's name the constant's."""
        return self._mapped(InputKind.CONSTANT_TENSOR)

    @property
    def inputs_to_lifted_custom_objs(self) -> Mapping[str, str]:
        """None."""
        return MappingProxyType({})

    @property
    def buffers_to_mutate(self) -> Mapping[str, str]:
        """Of an output's node the buffer that is to have it. None where the graph writes into buffers itself."""
        return self._written(OutputKind.BUFFER_MUTATION)

    @property
    def parameters_to_mutate(self) -> Mapping[str, str]:
        """The same of parameters."""
        return self._written(OutputKind.PARAMETER_MUTATION)

    @property
    def user_inputs_to_mutate(self) -> Mapping[str, str]:
        """The same of inputs."""
        return self._written(OutputKind.USER_INPUT_MUTATION)

    @property
    def backward_signature(self) -> ExportBackwardSignature | None:
        """None: there is no backward pass in the graph."""
        return None

    @property
    def assertion_dep_token(self) -> None:
        """None."""
        return None

    @property
    def input_tokens(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def output_tokens(self) -> tuple[str, ...]:
        """None."""
        return ()

    def replace_all_uses(self, old: str, new: str) -> None:
        """Have the node that was called `old` be called `new`."""
        specs: list[Any] = [*self.input_specs, *self.output_specs]
        for spec in specs:
            if not isinstance(spec.arg, ConstantArgument) and spec.arg.name == old:
                spec.arg.name = new

    def __str__(self) -> str:
        lines = ["", "# inputs", *map(str, self.input_specs), "", "# outputs", *map(str, self.output_specs), ""]
        return "\n".join(lines)
