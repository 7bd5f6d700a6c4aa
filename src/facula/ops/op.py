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

Form = Callable[..., Any]


class Operation:
    """One operation.

    name:       as its user finds it first: `add`, `linalg.inv`, `nn.functional.pad`, `Tensor.expand`
    body:       its meaning, a function of tensors; its gradient is in it (a formula's is derived, a primitive's hangs
                on the result as a Rule, a composition has those of its parts)
    spellings:  every name that it has, and the function that stands under it: `add`, `Tensor.add`, `Tensor.add_`
    """

    __slots__ = ("name", "body", "spellings")

    def __init__(self, name: str, body: Form) -> None:
        self.name = name
        self.body = body
        self.spellings: dict[str, Form] = {}

    @property
    def form(self) -> Form:
        """What its first name calls."""
        return self.spellings[self.name]

    @property
    def signature(self) -> inspect.Signature:
        return inspect.signature(self.body)

    @property
    def doc(self) -> str:
        return inspect.getdoc(self.body) or ""

    @property
    def formula(self) -> Any:
        """The formula that it is, if it is one: its gradients are derived from it."""
        pair = getattr(getattr(self.body, "__self__", None), "tt", None)  # of two tensors
        return getattr(self.body, "formula", pair)

    @property
    def takes_out(self) -> bool:
        return any("out" in inspect.signature(form, follow_wrapped=False).parameters
                   for form in self.spellings.values())

    @property
    def in_place(self) -> dict[str, Form]:
        """Its names that overwrite the first argument."""
        return {name: form for name, form in self.spellings.items()
                if name.endswith("_") and not name.endswith("__") and self.name != name}

    def __repr__(self) -> str:
        return f"<operation {self.name}>"


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


on_offer: list[Callable[[Form], None]] = []  # told of each form that is offered later
