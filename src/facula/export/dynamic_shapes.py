"""Which sizes of an exported program are open: `Dim`, `dims`, `ShapesCollection`, and what `dynamic_shapes=` may be."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from facula import absent
from facula._dynamo.exc import UserError
from facula._tensor.handle import Tensor
from facula.export._cases import Size
from facula.symbolic_expressions import Expression
from facula.utils import _pytree as pytree

__all__ = ["AdditionalInputs", "Constraint", "Dim", "ShapesCollection", "dims"]

Constraint = Any


class _Hint:
    """`Dim.AUTO`, `Dim.DYNAMIC`, `Dim.STATIC`; called, with a range."""

    def __init__(self, kind: str, min: int | None = None, max: int | None = None) -> None:
        self.kind, self.min, self.max = kind, min, max

    def __call__(self, min: int | None = None, max: int | None = None) -> _Hint:
        return _Hint(self.kind, min, max)

    def __repr__(self) -> str:
        return f"Dim.{self.kind}"


class Dim:
    """The name of a size that is left open, from `min` to `max`. What has one name has one size.

    `2 * b + 1` is a size that depends on another. `Dim.AUTO` leaves a size open as far as the program allows,
    `Dim.DYNAMIC` is an error if it does not, `Dim.STATIC` is the example's size.

    Raises:
        AssertionError: a name that is no identifier; a range that is empty.

    Example:
        >>> import facula
        >>> batch = facula.export.Dim("batch", max=64)
        >>> program = facula.export.export(facula.nn.Linear(3, 2), (facula.ones(4, 3),),
        ...                                dynamic_shapes={"input": {0: batch}})
        >>> program.module()(facula.ones(7, 3)).shape
        torch.Size([7, 2])
    """

    AUTO = _Hint("AUTO")
    DYNAMIC = _Hint("DYNAMIC")
    STATIC = _Hint("STATIC")

    def __init__(self, name: str, *, min: int | None = None, max: int | None = None) -> None:
        lower = 0 if min is None else min
        if max is not None and max <= lower:
            raise AssertionError(f"Cannot create Dim with inconsistent min={lower}, max={max}")
        if not name.isidentifier():
            raise AssertionError(f"Dim name must be a valid identifier, got {name}")
        self.__name__, self.min, self.max = name, lower, max
        self.root, self.scale, self.shift = self, 1, 0

    def _derived(self, scale: int, shift: int) -> Dim:
        found = Dim.__new__(Dim)
        found.root, found.scale, found.shift = self.root, self.scale * scale, self.shift * scale + shift
        found.min = self.root.min * found.scale + found.shift
        found.max = None if self.root.max is None else self.root.max * found.scale + found.shift
        text = self.root.__name__ if found.scale == 1 else f"{found.scale}*{self.root.__name__}"
        found.__name__ = text + (f" + {found.shift}" if found.shift > 0 else f" - {-found.shift}" if found.shift
                                 else "")
        return found

    def __add__(self, other: Any) -> Dim:
        if type(other) is not int:
            raise NotImplementedError(f"Attempted to add {other} to {self.__name__}, where an integer was expected. "
                                      "(Only increasing linear operations with integer coefficients are supported.)")
        return self._derived(1, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Dim:
        if type(other) is not int:
            raise NotImplementedError(f"Attempted to subtract {other} from {self.__name__}, where an integer was "
                                      "expected. (Only increasing linear operations with integer coefficients are "
                                      "supported.)")
        return self._derived(1, -other)

    def __mul__(self, other: Any) -> Dim:
        if type(other) is not int or other <= 0:
            raise NotImplementedError(f"Attempted to multiply {other} with {self.__name__}, where a positive integer "
                                      "was expected. (Only increasing linear operations with integer coefficients are "
                                      "supported.)")
        return self._derived(other, 0)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        if self.root is not self:
            return self.__name__
        options = (f", min={self.min}" if self.min else "") + (f", max={self.max}" if self.max is not None else "")
        return f"Dim('{self.__name__}'{options})"


def dims(*names: str, min: int | None = None, max: int | None = None) -> tuple[Dim, ...]:
    """Several of a range.

    Example:
        >>> import facula
        >>> facula.export.dims("batch", "length", max=9)
        (Dim('batch', max=9), Dim('length', max=9))
    """
    return tuple([Dim(name, min=min, max=max) for name in names])


class ShapesCollection:
    """Open sizes by the tensors themselves: `shapes[x] = {0: Dim("b")}`, then `dynamic_shapes=shapes`.

    Example:
        >>> import facula
        >>> x = facula.ones(4, 3)
        >>> shapes = facula.export.ShapesCollection()
        >>> shapes[x] = {0: facula.export.Dim("batch")}
        >>> facula.export.export(facula.nn.ReLU(), (x,), dynamic_shapes=shapes).module()(facula.ones(2, 3)).shape
        torch.Size([2, 3])
    """

    def __init__(self) -> None:
        self._shapes: dict[int, tuple[Any, Any]] = {}

    def __setitem__(self, t: Any, shape: Any) -> None:
        if not isinstance(t, Tensor):
            raise AssertionError(f"Cannot assign shape to non-tensor type {type(t)}")
        known = self._shapes.get(id(t))
        if known is not None and known[1] != shape:
            raise AssertionError(f"Shapes assigned to input were expected to be {known[1]}, but got {shape}")
        self._shapes[id(t)] = t, shape

    def __getitem__(self, t: Any) -> Any:
        if id(t) not in self._shapes:
            self._shapes[id(t)] = t, {}
        return self._shapes[id(t)][1]

    def __len__(self) -> int:
        return len(self._shapes)

    def dynamic_shapes(self, m: Any, args: Any, kwargs: Any = None) -> dict[str, Any]:
        """What `dynamic_shapes=` is for such arguments. ValueError for a tensor that is not among them."""
        seen: set[int] = set()

        def of(leaf: Any) -> Any:
            seen.add(id(leaf))
            return self._shapes[id(leaf)][1] if id(leaf) in self._shapes else None
        found = {name: pytree.tree_map(of, value) for name, value in combined(m, args, kwargs or {}).items()}
        if self._shapes.keys() - seen:
            raise ValueError("Some tensors that were assigned shapes were not found in args.")
        return found


AdditionalInputs = absent.kind("torch.export.AdditionalInputs", "say with Dim which sizes are open")


def combined(module: Any, args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by their names in `forward`: `*args` as a tuple, `**kwargs` one by one."""
    forward = module.forward if hasattr(module, "forward") else module
    signature = inspect.signature(forward)
    bound = signature.bind(*args, **kwargs)
    found: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        if name not in bound.arguments:
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            found |= bound.arguments[name]
        else:
            found[name] = bound.arguments[name]
    for name in kwargs:  # in the order of the call
        found[name] = found.pop(name) if name in found else kwargs[name]
    return found


class Sizes:
    """The open sizes of all inputs: for each tensor (by its place among the leaves) a formula for every dimension, or
    None."""

    def __init__(self) -> None:
        self.sizes: dict[str, Size] = {}
        self.symbols: dict[str, str] = {}  # by the name of a Dim
        self.of_leaves: dict[int, list[Expression | None]] = {}
        self.derived: list[tuple[Dim, Expression, int, str]] = []

    def symbol(self, kind: str, hint: int, lower: int, upper: int | None, path: str, name: str = "") -> str:
        """A new symbol."""
        symbol = f"s{len(self.sizes)}"
        self.sizes[symbol] = Size(symbol, kind, hint, lower, upper, path, name, (lower, upper))
        return symbol

    def of_tensor(self, at: int, t: Tensor, spec: Any, path: str) -> None:
        """What is said of a tensor: a dict of dimensions, a list with an entry for each, or None."""
        if spec is None:
            return
        if isinstance(spec, Mapping):
            entries = dict(spec)
            bad = [d for d in entries if type(d) is not int or not -t.dim() <= d < t.dim()]
            if bad:
                raise UserError(f"Unexpected dimension {bad[0]!r} in dynamic_shapes of {path}: the tensor has "
                                f"{t.dim()} dimensions")
            entries = {d % t.dim(): entry for d, entry in entries.items()}
        elif isinstance(spec, (list, tuple)):
            if len(spec) != t.dim():
                raise UserError(f"Expected dynamic shape spec {spec} specified at {path} to have the same length as "
                                f"the actual tensor shape {tuple(t.shape)} (expected {t.dim()}, but got {len(spec)} "
                                "instead)")
            entries = dict(enumerate(spec))
        else:
            raise UserError(f"Unexpected input type {type(spec)} in dynamic_shapes of {path}: a dict or a list of "
                            "dimensions is expected")
        found: list[Expression | None] = [self._entry(entries.get(d), t.shape[d], f"{path}.size()[{d}]")
                                          for d in range(t.dim())]
        if any(formula is not None for formula in found):
            self.of_leaves[at] = found

    def _entry(self, entry: Any, size: int, path: str) -> Expression | None:
        if entry is None or isinstance(entry, _Hint) and entry.kind == "STATIC":
            return None
        if type(entry) is int:
            if entry != size:
                raise UserError(f"Static shape constraint of {entry} does not match input size of {size}, for {path}")
            return None
        if isinstance(entry, _Hint):
            kind = entry.kind.lower()
            if kind == "auto" and size in (0, 1):
                return None
            if kind == "dynamic" and size in (0, 1):
                raise UserError(f"Constraints violated ({path})! For more information, run with TORCH_LOGS=\"+dynamic\""
                                f".\n  - You marked {path} as dynamic but the example's size is {size}, which PyTorch "
                                "takes for fixed: give an example of size 2 or more.")
            return Expression.symbol(self.symbol(kind, size, entry.min or 0, entry.max, path))
        if not isinstance(entry, Dim):
            raise UserError(f"Unexpected dimension {entry!r} in dynamic_shapes at {path}: a Dim, Dim.AUTO, "
                            "Dim.DYNAMIC, Dim.STATIC, a number or None is expected")
        if size < entry.min or entry.max is not None and size > entry.max:
            raise UserError(f"Expected input at {path} to be in the range [{entry.min}, "
                            f"{'int_oo' if entry.max is None else entry.max}], but got {size}")
        return self._named(entry, size, path)

    def _named(self, entry: Dim, size: int, path: str) -> Expression:
        root = entry.root
        hint, rest = divmod(size - entry.shift, entry.scale)
        if rest:
            raise UserError(f"Expected input at {path} to be of the form {entry.__name__}, where {root.__name__} is an "
                            f"integer, but got {size}")
        symbol = self.symbols.get(root.__name__)
        if symbol is None:
            symbol = self.symbols[root.__name__] = self.symbol(
                "named", hint, root.min, root.max, path if entry is root else root.__name__, root.__name__)
        elif (known := self.sizes[symbol]).declared != (root.min, root.max):
            raise UserError(f"Found different definitions Dim('{root.__name__}') and {root!r} for the same symbolic "
                            "dimension.")
        elif known.hint != hint:
            raise UserError(f"Constraints violated ({root.__name__})! For more information, run with "
                            f"TORCH_LOGS=\"+dynamic\".\n  - The values of {entry.__name__} = {path} and "
                            f"{root.__name__} = {known.path} must always be equal, but the examples' are {size} and "
                            f"{known.hint}.")
        return Expression.symbol(symbol) * entry.scale + entry.shift


def sizes_of(module: Any, arguments: dict[str, Any], dynamic_shapes: Any) -> Sizes:
    """The open sizes of arguments (by name), as `dynamic_shapes` says. UserError where it does not fit them."""
    found = Sizes()
    if not dynamic_shapes:
        return found
    names = list(arguments)
    if isinstance(dynamic_shapes, (list, tuple)):
        if len(dynamic_shapes) != len(names):
            raise UserError("Detected mismatch between the structure of `inputs` and `dynamic_shapes`: there are "
                            f"{len(names)} inputs, and {len(dynamic_shapes)} entries in `dynamic_shapes`")
        dynamic_shapes = dict(zip(names, dynamic_shapes, strict=True))
    if set(dynamic_shapes) != set(names):
        raise UserError("When `dynamic_shapes` is specified as a dict, its top-level keys must be the arg names "
                        f"{names} of `inputs`, but here they are {list(dynamic_shapes)}. Alternatively, you could also "
                        "ignore arg names entirely and specify `dynamic_shapes` as a list/tuple matching `inputs`.")
    at = 0
    for name in names:
        at = _descend(found, at, arguments[name], dynamic_shapes[name], f"L['{name}']")
    return found


def _descend(found: Sizes, at: int, value: Any, spec: Any, path: str) -> int:
    """The leaves of `value` from place `at` on, with what `spec` says of them. Gives the place after them."""
    leaves, tree = pytree.tree_flatten(value)
    if tree.is_leaf():
        if isinstance(value, Tensor):
            found.of_tensor(at, value, spec, path)
        elif spec is not None and not (isinstance(spec, _Hint) and spec.kind in ("STATIC", "AUTO")):
            if isinstance(spec, (_Hint, Dim)):
                raise NotImplementedError(f"torch.export: a number as an open input ({path}) is not in Facula yet; "
                                          "give it as a tensor, or as the size of one")
            raise UserError(f"Unexpected dynamic_shapes of {path}, which is no tensor: {spec}")
        return at + 1
    if spec is None:
        return at + len(leaves)
    children = tree.children()
    keys: list[Any] = list(tree.context) if isinstance(value, dict) else list(range(len(children)))
    if isinstance(value, dict):
        if not isinstance(spec, Mapping) or set(spec) != set(keys):
            raise UserError(f"Detected mismatch between the structure of `inputs` and `dynamic_shapes`: {path} is a "
                            f"dict of {keys}, its entry in `dynamic_shapes` is {spec}")
        parts, specs = [value[key] for key in keys], [spec[key] for key in keys]
    else:
        parts = _children(value, tree)
        specs = list(spec.values()) if isinstance(spec, Mapping) else list(spec) \
            if isinstance(spec, (list, tuple)) else _children(spec, pytree.tree_flatten(spec)[1])
        if len(specs) != len(parts):
            raise UserError(f"Detected mismatch between the structure of `inputs` and `dynamic_shapes`: {path} has "
                            f"{len(parts)} parts, its entry in `dynamic_shapes` is {spec}")
    for key, part, inner in zip(keys, parts, specs, strict=True):
        at = _descend(found, at, part, inner, f"{path}[{key!r}]")
    return at


def _children(value: Any, tree: Any) -> list[Any]:
    return list(pytree.SUPPORTED_NODES[tree.type].flatten_fn(value)[0])
