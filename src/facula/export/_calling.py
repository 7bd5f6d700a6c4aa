"""An operation that a captured program calls: its node, and a description of its result in every case."""

from __future__ import annotations

import operator
from typing import Any

import facula
from facula._tensor.handle import Tensor, is_meta
from facula.devices import CPU
from facula.devices import device as Device
from facula.export._cases import Again
from facula.export._traced import Traced, program_line, traced
from facula.export._writing import Writing
from facula.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from facula.ops.aten_names import aten
from facula.size import Size
from facula.symbolic_numbers import _Symbolic
from facula.utils import _pytree as pytree


class Calling(Writing):
    """What calls operations. `Capture` (`_capture.py`) is one."""

    cases: list[dict[str, int]]

    def __init__(self) -> None:
        super().__init__()
        self.by_inner: dict[int, Traced] = {}
        self.everything: list[Any] = []  # so that no id is given twice
        self.values: Any = None  # of a graph without writes: see _functional.py

    def shape_of(self, t: Traced) -> Any:
        """The shape of a described tensor."""
        raise NotImplementedError

    def call(self, overload: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An operation: its node, and a description of its result."""
        args, kwargs = self._lifted(args), self._lifted(kwargs)
        place = self._place(args, kwargs)
        nodes = self.argument(args), self.argument(kwargs)
        written = overload.overloadpacket.__name__.endswith("_")
        versions = self._versions(args, kwargs) if self.values is not None else []
        before = args[0].in_cases[0].shape if written and args and isinstance(args[0], Traced) else None
        results = [self._in_case(k, overload, args, kwargs) for k in range(len(self.cases))]
        if before is not None and args[0].in_cases[0].shape != before:
            raise NotImplementedError(f"torch.export of {overload}: what changes a tensor's shape in place is not in "
                                      f"Facula yet{program_line()}")
        if results[0] is not None and not any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(results[0])):
            return self._wrapped(results, None, place, overload)  # about shapes alone
        if self.values is None:
            return self._wrapped(results, self.create(overload, *nodes), place, overload)
        if written:
            self.values.write(overload, args, kwargs, nodes)
            return args[0]
        if overload is aten.batch_norm.default and args[3] is not None and args[5]:
            return self.values.normalised(args, results, place)
        if versions != self._versions(args, kwargs):
            raise NotImplementedError(f"run_decompositions of a program with {overload}, which writes into what it is "
                                      f"given, is not in Facula yet{program_line()}")
        found = self._wrapped(results, self.create(overload, *nodes), place, overload)
        self.values.noted(overload, args, nodes, found)
        return found

    def _versions(self, args: Any, kwargs: Any) -> list[int]:
        """How often what an operation is given has been written."""
        return [x.in_cases[0]._version for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Traced)]

    def _lifted(self, value: Any) -> Any:
        if isinstance(value, Traced):
            return self.from_around(value)
        if isinstance(value, Tensor):
            return self.constant(value)
        if isinstance(value, (list, tuple)) and not isinstance(value, Size):
            parts = [self._lifted(part) for part in value]
            return parts if isinstance(value, list) else tuple(parts)
        if isinstance(value, dict):
            return {key: self._lifted(part) for key, part in value.items()}
        return value

    def _in_case(self, k: int, overload: Any, args: Any, kwargs: Any) -> Any:
        try:
            return overload(*self.of_case(args, k), **self.of_case(kwargs, k))
        except Exception as error:
            if k:
                raise Again(k, None, error, self.steps, program_line(), str(overload)) from None
            raise _explained(error, overload) from error

    def of_case(self, value: Any, k: int) -> Any:
        """An argument as it is in a case. Devices become "meta": nothing is computed."""
        if isinstance(value, Traced):
            return self.from_around(value).in_cases[k]
        if isinstance(value, _Symbolic):
            return value.values[k]
        if isinstance(value, Device):
            return Device("meta")
        if isinstance(value, Size):
            return [self.of_case(part, k) for part in value]
        if isinstance(value, (list, tuple)):
            parts = [self.of_case(part, k) for part in value]
            return parts if isinstance(value, list) else tuple(parts)
        if isinstance(value, dict):
            return {key: self.of_case(part, k) for key, part in value.items()}
        return value

    def _place(self, args: Any, kwargs: Any) -> Any:
        """Where the result is."""
        for value in (*args, *kwargs.values()):
            if isinstance(value, Device):
                return value
        for leaf in pytree.tree_leaves((args, kwargs)):
            if isinstance(leaf, Traced):
                return leaf.place
        return facula.get_default_device() if hasattr(facula, "get_default_device") else CPU

    def _wrapped(self, results: list[Any], node: Any, place: Any, overload: Any) -> Any:
        """What the program gets: `results` in every case."""
        first = results[0]
        for k, other in enumerate(results):
            if not _alike(first, other):
                raise Again(k, None, None, self.steps, program_line(), f"the number of dimensions or results of "
                                                                       f"{overload}")
        if isinstance(first, Tensor):
            known = self.by_inner.get(id(first))
            if known is not None and all(mine is other for mine, other in zip(known.in_cases, results, strict=True)):
                known.fx = node
                node.meta["val"] = known
                return known
            if not is_meta(first):
                raise RuntimeError(f"torch.export: {overload} gave a tensor that is not described{program_line()}")
            found = traced(self, tuple(results), node, place)
            self._keep(found)
            self.shape_of(found)  # now: its formulas help to find those of what is made of it
            node.meta["val"] = found
            return found
        if node is not None and isinstance(first, (list, tuple)) and not isinstance(first, Size):
            parts = []
            for k in range(len(first)):
                made = isinstance(first[k], (Tensor, list, tuple))
                part = self._create(operator.getitem, (node, k), {}) if made else node
                part.meta.setdefault("stack_trace", node.meta.get("stack_trace"))
                parts.append(self._wrapped([r[k] for r in results], part, place, overload))
            node.meta["val"] = tuple(parts)
            return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
        return first

    def _keep(self, found: Traced) -> None:
        self.everything.append(found)
        for inner in found.in_cases:
            self.by_inner[id(inner)] = found


def _alike(a: Any, b: Any) -> bool:
    """Are two results alike but for their sizes?"""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype is b.dtype and len(a.shape) == len(b.shape)
    if isinstance(a, (list, tuple)) and not isinstance(a, Size):
        return type(a) is type(b) and len(a) == len(b) and all(map(_alike, a, b))
    return bool(a == b)


def _explained(error: Exception, overload: Any) -> Exception:
    """What an operation has raised; if that was for want of elements, with what is to be done about it."""
    text = str(error)
    if "meta tensor" in text or "no data" in text or "meta device" in text:
        return GuardOnDataDependentSymNode(
            f"Could not extract data-dependent result of {overload}: the shape of what it gives, or whether it fails, "
            "depends on elements, which are not known while the program is captured. Use an operation whose result has "
            f"a fixed shape (torch.where, masked_fill, topk).{program_line()}")
    return error
