"""What takes tensors and gives tensors, as a Handler: functions, Modules, and programs from files.

Inputs go in by the names that the function has for them; where a request (or the configuration) has other names, in
their order. A program's file says more: its inputs, their dtypes and sizes, are declared by it.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .elements import NAMES
from .faults import BadRequest
from .handlers import Handler
from .settings import ConfigError, Settings, Spec


class ModuleHandler(Handler):
    """A function of tensors, or a Module."""

    def __init__(self, function: Any, settings: Settings) -> None:
        self.function = function
        self.names = [one.name for one in settings.inputs]
        self.output_names = [one.name for one in settings.outputs]
        self.own = parameters_of(function)

    def predict(self, inputs: dict[str, Any]) -> Any:
        """The function's outputs for all rows. Raises BadRequest where these are not its inputs."""
        return named_outputs(self._called(inputs), self.output_names)

    def _called(self, inputs: dict[str, Any]) -> Any:
        if self.own is None:
            return self.function(*[inputs[name] for name in self.names or inputs])
        if inputs.keys() <= self.own.keys():
            missing = [name for name, needed in self.own.items() if needed and name not in inputs]
            if missing:
                raise BadRequest(f"inputs are {_listed(inputs)}; {_listed(self.own)} are expected: {missing[0]!r} is "
                                 "missing")
            return self.function(**inputs)
        if not sum(self.own.values()) <= len(inputs) <= len(self.own):
            raise BadRequest(f"inputs are {_listed(inputs)}; {_listed(self.own)} are expected")
        named = dict(zip(self.own, [inputs[name] for name in self.names or inputs], strict=False))
        return self.function(**named)


class ProgramHandler(ModuleHandler):
    """A program that `export.save` has written."""

    def __init__(self, path: Path, settings: Settings) -> None:
        from facula import export
        try:
            self.program = program = export.load(path)
        except export.DamagedProgram as error:
            raise ConfigError(f"{path}: {error}") from None
        tree, _ = (spec := program.call_spec.in_spec).children()
        if any(not child.is_leaf() for part in spec.children() for child in part.children()):
            raise ConfigError(f"{path}: the program takes containers of tensors; inputs of requests are tensors")
        self.module, self.positional = program.module(), tree.num_children
        super().__init__(self._ordered, settings)
        self.own = dict.fromkeys(program._signature().forward_arg_names or (), True)

    def _ordered(self, **inputs: Any) -> Any:
        names = list(self.own or ())
        try:
            return self.module(*[inputs[name] for name in names[:self.positional]],
                               **{name: inputs[name] for name in names[self.positional:]})
        except AssertionError as error:
            if str(error).startswith("Guard failed"):
                raise BadRequest(f"the program does not hold for these inputs: {error}") from None
            raise

    def completed(self, settings: Settings) -> Settings:
        """With the inputs and outputs that the program has, if none are declared, and no more rows at once than it
        takes: one request alone where their number is fixed."""
        nodes = {node.name: node.meta.get("val") for node in self.program.graph.nodes}
        names = self.program.graph_signature.user_inputs
        described: list[Any] = [nodes.get(name) for name in names if isinstance(name, str)]
        if self.own is None or len(described) != len(self.own) or any(one is None for one in described):
            return settings
        inputs = [_spec(name, one) for name, one in zip(self.own, described, strict=True)]
        open_ = {_symbol(n) for one in described for n in one.shape if not isinstance(n, int)}
        first = {_symbol(one.shape[0]) if one.ndim else "" for one in described}
        ranges = {symbol.name: found for symbol, found in self.program.range_constraints.items()}
        rows = ranges.get(next(iter(first), "")) if len(first) == 1 else None
        most = 1 if rows is None else settings.max_batch_size if rows.upper is None else rows.upper
        return replace(
            settings, max_batch_size=max(1, min(most, settings.max_batch_size)),
            # Sizes can be made up where there are none but the rows.
            warm_up=settings.warm_up and (open_ == first and rows is not None and rows.lower <= 1 or not open_),
            inputs=settings.inputs or (() if None in inputs else tuple(inputs)),  # type: ignore[arg-type]
            outputs=settings.outputs or self._outputs(nodes))

    def _outputs(self, nodes: dict[str, Any]) -> tuple[Spec, ...]:
        found = [nodes.get(name) for name in self.program.graph_signature.user_outputs if isinstance(name, str)]
        tree = self.program.call_spec.out_spec
        parts = [tree] if tree.is_leaf() else tree.children() if tree.type in (tuple, list) else []
        if not found or len(parts) != len(found) or any(one is None for one in found) \
                or not all(part.is_leaf() for part in parts):
            return ()
        specs = [_spec(name, one) for name, one in named_outputs(found, []).items()]
        return () if None in specs else tuple(specs)  # type: ignore[arg-type]


def _symbol(size: Any) -> str:
    """The symbol that an open size is; of a formula its text, of a fixed size nothing."""
    return "" if isinstance(size, int) else size.formula.only or str(size)


def _spec(name: str, described: Any) -> Spec | None:
    """None where the protocol has no such dtype."""
    kind = str(described.dtype).partition(".")[2]
    try:
        datatype = "BF16" if kind == "bfloat16" else NAMES.get(np.dtype(kind))
    except TypeError:
        return None
    if datatype is None:
        return None
    return Spec(name, datatype, tuple([n if isinstance(n, int) else -1 for n in described.shape]))


def parameters_of(function: Any) -> dict[str, bool] | None:
    """Its parameters by name, each with whether it has to be given; None where that cannot be told."""
    forward = getattr(function, "forward", function)
    try:
        found = [*inspect.signature(forward).parameters.values()]
    except (TypeError, ValueError):
        return None
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD, p.POSITIONAL_ONLY) for p in found):
        return None
    return {p.name: p.default is p.empty for p in found}


def named_outputs(found: Any, names: list[str]) -> dict[str, Any]:
    """What a model gave, by name: `output`, or `output_0`, `output_1`... where nothing else is said."""
    if isinstance(found, dict):
        return found
    parts = list(found) if isinstance(found, (tuple, list)) else [found]
    if not names:
        names = ["output"] if len(parts) == 1 else [f"output_{k}" for k in range(len(parts))]
    if len(names) != len(parts):
        raise RuntimeError(f"the model gave {len(parts)} outputs, {len(names)} are declared")
    return dict(zip(names, parts, strict=True))


def _listed(names: Any) -> str:
    return ", ".join(names)
