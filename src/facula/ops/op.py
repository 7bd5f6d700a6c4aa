"""What an operation is: one object that has its meaning and every name its users know it by.

`ops/registry.py` makes the objects. Everything else is derived from them: the names in `facula`, in `facula.linalg`,
`special`, `fft`, `nn.functional`, `signal.windows` and of Tensor's methods, the sweeps of the tests, the types that
mypy sees, the reference pages, and what listens to calls (`ops/listening.py`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import FunctionType, MappingProxyType
from typing import Any

from facula._tensor.handle import Tensor
from facula.engine.graph.node import Formula
from facula.ops.elementwise.pointwise import rule_of

Form = Callable[..., Any]


class Operation:
    """One operation.

    name:       as its user finds it first: `add`, `linalg.inv`, `nn.functional.pad`, `Tensor.expand`
    body:       its meaning, a function of tensors
    types:      its type rule (type_rules.py), if a named one tells shape and dtype of the result: `result` asks it.
                Elementwise operations, reductions and scans have one
    rules:      its gradient: the rules, or the formulas whose derived rules, its body hangs on the result; `gradient`
                has them as rules. () for a composition, which has those of its parts, and for a body that is a formula
    spellings:  every name that it has, and the function that stands under it: `add`, `Tensor.add`, `Tensor.add_`
    """

    __slots__ = ("name", "body", "types", "rules", "spellings")

    def __init__(self, name: str, body: Form, types: Callable[[Mapping[str, Any]], Any] | None = None,
                 rules: tuple[Any, ...] = ()) -> None:
        self.name = name
        self.body = body
        self.types = types
        self.rules = rules
        self.spellings: dict[str, Form] = {}

    @property
    def form(self) -> Form:
        """What its first name calls."""
        return self.spellings[self.name]

    @property
    def signature(self) -> inspect.Signature:
        return signature_of(self.body)

    @property
    def doc(self) -> str:
        return inspect.getdoc(self.body) or ""

    @property
    def formula(self) -> Any:
        """The formula that it is, if it is one: its gradients are derived from it."""
        pair = getattr(getattr(self.body, "__self__", None), "tt", None)  # of two tensors
        return getattr(self.body, "formula", pair)

    @property
    def gradient(self) -> tuple[Any, ...]:
        """The rules of its gradient; () for a composition, and for what has no gradient."""
        return own_rules(*(self.rules or (self.body,)))

    def result(self, *args: Any, **kwargs: Any) -> Any:
        """(shape, dtype) of the result for such arguments, or a tuple of such: told without running it. Errors of
        arguments are the operation's to raise. NotImplementedError if it has no type rule."""
        if self.types is None:
            raise NotImplementedError(f"{self.name} has no type rule: what it gives is known when it has been called")
        signature = self.signature
        for numpy_name, name in (("axis", "dim"), ("keepdims", "keepdim")):
            if numpy_name in kwargs and numpy_name not in signature.parameters:
                kwargs[name] = kwargs.pop(numpy_name)
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        return self.types(given.arguments)

    @property
    def takes_out(self) -> bool:
        return any("out" in inspect.signature(plain_of(form), follow_wrapped=False).parameters
                   for form in self.spellings.values())

    @property
    def in_place(self) -> dict[str, Form]:
        """Its names that overwrite the first argument."""
        return {name: form for name, form in self.spellings.items()
                if name.endswith("_") and not name.endswith("__") and self.name != name}

    def __repr__(self) -> str:
        return f"<operation {self.name}>"


def own_rules(*given: Any) -> tuple[Any, ...]:
    """The rules among `given`, those of the formulas, and of the formulas that bodies and forms are made of."""
    found: list[Any] = []
    for x in given:
        operation = operation_of(x)
        if hasattr(x, "backward"):
            found.append(x)
        elif isinstance(x, Formula):
            found.append(rule_of(x))
        elif operation is not None and operation.rules:
            found += own_rules(*operation.rules)
        else:
            found += [rule_of(f) for f in getattr(getattr(x, "__self__", x), "formulas", ())]
    return tuple(found)


_owners: dict[str, Operation] = {}  # by spelling
_of_forms: dict[int, Operation] = {}  # by the function's id: forms are never let go
_rooms: dict[str, dict[str, Form]] = {"": {}, "Tensor": {}}
_spaces: dict[str, Mapping[str, Form]] = {}

FUNCTIONS: Mapping[str, Form] = MappingProxyType(_rooms[""])  # public names of `facula`
METHODS: Mapping[str, Form] = MappingProxyType(_rooms["Tensor"])
NAMESPACES: Mapping[str, Mapping[str, Form]] = MappingProxyType(_spaces)  # "linalg", "special", "nn.functional", ...


def operations() -> list[Operation]:
    """Every operation there is, in the order of definition."""
    return list(dict.fromkeys(_owners.values()))


def owner(spelling: str) -> Operation | None:
    """The operation of that name."""
    return _owners.get(spelling)


def operation_of(form: Form) -> Operation | None:
    """The operation that a function is a form of."""
    return _of_forms.get(id(form))


def belongs(form: Form, operation: Operation) -> None:
    """What the operation's definition is in its own file is one of its forms, whatever stands under its names."""
    _of_forms.setdefault(id(form), operation)


def offer(operation: Operation, spelling: str, form: Form) -> None:
    """Have `spelling` mean `form` of `operation`. A method is set on Tensor; a later definition takes a name over."""
    before = _owners.get(spelling)
    if before is not None and before is not operation:
        del before.spellings[spelling]
        if before.name == spelling and before.spellings:
            before.name = next(iter(before.spellings))
    _owners[spelling] = operation
    operation.spellings[spelling] = form
    _of_forms[id(form)] = operation
    if isinstance(form, FunctionType) and all(form.__name__ != name.rpartition(".")[2] for name in operation.spellings):
        form.__name__ = form.__qualname__ = spelling.rpartition(".")[2]
    space, _, name = spelling.rpartition(".")
    if space not in _rooms:
        _rooms[space] = {}
        _spaces[space] = MappingProxyType(_rooms[space])
    _rooms[space][name] = form
    if space == "Tensor":
        setattr(Tensor, name, form)
    for tell in on_offer:
        tell(form)


def withdraw(spelling: str) -> None:
    """Take a name away that came with a form and that torch does not have."""
    operation = _owners.pop(spelling)
    del operation.spellings[spelling]
    space, _, name = spelling.rpartition(".")
    del _rooms[space][name]
    if space == "Tensor":
        delattr(Tensor, name)


def plain_of(form: Form) -> Form:
    """`form` with its own code, whoever listens: ops/listening.py has the code of forms exchanged."""
    door = doors.get(id(form))
    return form if door is None else door.plain


def signature_of(form: Form) -> inspect.Signature:
    """The signature of `form`, or of what it wraps, whoever listens to either."""
    form = plain_of(form)
    while hasattr(form, "__wrapped__") and not hasattr(form, "__signature__"):
        form = plain_of(form.__wrapped__)
    return inspect.signature(form)


doors: dict[int, Any] = {}  # by the form's id, once somebody has listened
on_offer: list[Callable[[Form], None]] = []  # told of each form that is offered later
