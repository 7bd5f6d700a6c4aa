"""From a program to its graph: captured, and again while a case disagrees, until all agree or an error is due."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

from facula._dynamo.exc import UserError
from facula.export._cases import Again, Plan, Size, holds_between, violated
from facula.symbolic_expressions import Relation

_TRIES = 60


class Complaints:
    """What keeps sizes from being open that were said to be."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self.lines: list[str] = []
        self.fixes: list[str] = []

    def add(self, size: Size, line: str, fix: str = "") -> None:
        self.names[size.name or size.path] = None
        self.lines.append(line)
        if fix:
            self.fixes.append(fix)

    def error(self) -> UserError:
        """All of them."""
        text = (f"Constraints violated ({', '.join(self.names)})! For more information, run with "
                "TORCH_LOGS=\"+dynamic\".\n" + "\n".join(f"  - {line}" for line in self.lines))
        if self.fixes:
            text += "\nSuggested fixes:\n" + "\n".join(f"  {fix}" for fix in self.fixes)
        return UserError(text)


def solved(capture: Callable[[Plan], Any], plan: Plan) -> tuple[Any, Plan]:
    """`capture(plan)` under the first plan that all cases agree with, and that plan.

    Raises:
        UserError: a size that was said to be open cannot be.
    """
    complaints = Complaints()
    for _ in range(_TRIES):
        try:
            found = capture(plan)
            held = [(relation, where) for relation, where in found.guards.items()
                    if violated(_rooted(relation, plan), plan.free)]
            if held:
                relation, where = held[0]
                told = f"\n\nThe following call raised this error:\n{where}" if where else ""
                raise Again(0, relation, None, 0, told)
        except Again as again:
            plan = _changed(capture, plan, again, complaints)
            continue
        if complaints.lines:
            raise complaints.error()
        return found, plan
    raise complaints.error() if complaints.lines else UserError(
        "torch.export: the sizes that are open ask for so many conditions that none was found to hold for all; give "
        "ranges (Dim(min=, max=)), or leave fewer open")


def _rooted(relation: Relation, plan: Plan) -> Relation:
    """With the symbols that stand for others replaced, and those that are fixed as numbers."""
    from facula.symbolic_expressions import Expression
    values = {name: Expression.number(plan.sizes[plan.root(name)].hint) if plan.root(name) in plan.fixed
              else Expression.symbol(plan.root(name)) for name in relation.symbols if name in plan.sizes}
    return Relation(relation.name, relation.left.with_values(values), relation.right.with_values(values))


def _changed(capture: Any, plan: Plan, again: Again, complaints: Complaints) -> Plan:
    """The plan to try next."""
    if again.need:
        return replace(plan, row=again.need)
    if again.case == plan.is_low and again.case > 0 and (again.relation is None or plan.least < 2):
        lowered = plan.lowered()
        if lowered is not None and (again.error is not None or plan.least < 2):
            return lowered
    if again.error is not None and plan.high and again.case == len(plan.cases()) - 1:
        return replace(plan, high=False)
    if again.relation is not None:
        relation = _rooted(again.relation, plan)
        if relation.symbols:
            return _by_relation(plan, relation, again, complaints)
    return _by_trial(capture, plan, again, complaints)


def _open(plan: Plan, symbol: str) -> bool:
    """May a size be other than was said, without a complaint?"""
    return plan.sizes[symbol].kind == "auto"


def _same(plan: Plan, a: str, b: str, complaints: Complaints, where: str) -> Plan:
    """Two sizes have to be equal."""
    one, other = plan.sizes[a], plan.sizes[b]
    if other.kind != "auto" and one.kind == "auto":
        a, b, one, other = b, a, other, one
    if not _open(plan, b):
        complaints.add(other, f"The values of {_called(other)} and {_called(one)} must always be equal.{_told(where)}",
                       f"{other.name} = {one.name}" if other.name and one.name else "")
        complaints.names[one.name or one.path] = None
    lower = max(one.lower, other.lower)
    uppers = [u for u in (one.upper, other.upper) if u is not None]
    sizes = {**plan.sizes, a: replace(one, lower=lower, upper=min(uppers) if uppers else None)}
    return replace(plan, sizes=sizes, same={**plan.same, b: a})


def _fixed(plan: Plan, symbol: str, complaints: Complaints, where: str) -> Plan:
    """A size has to be the example's."""
    size = plan.sizes[symbol]
    if not _open(plan, symbol):
        complaints.add(size, f"You marked {size.name or size.path} as dynamic but your code specialized it to be a "
                       f"constant ({size.hint}). If you're using mark_dynamic, either remove it or use "
                       "maybe_mark_dynamic. If you're using Dim.DYNAMIC, replace it with either Dim.STATIC or Dim.AUTO."
                       + _told(where), f"{size.name} = {size.hint}" if size.name else "")
    return replace(plan, fixed=plan.fixed | {symbol})


def _called(size: Size) -> str:
    return f"{size.name} = {size.path}" if size.name else size.path


def _told(where: str) -> str:
    """The program's line, within a list of complaints."""
    return where.replace("\n\nThe following call raised this error:\n", " It is met here:\n  ").rstrip("\n") \
        if where else ""


def _by_relation(plan: Plan, relation: Relation, again: Again, complaints: Complaints) -> Plan:
    """What a question about sizes leaves."""
    names = sorted(relation.symbols)
    difference = relation.left - relation.right
    if len(names) == 1:
        size = plan.sizes[names[0]]
        lower, upper = holds_between(relation, names[0], size)
        if lower == upper:
            step = _step(relation, size)
            if step is not None:
                return _stepped(plan, size, step, relation, complaints, again.where)
            return _fixed(plan, names[0], complaints, again.where)
        if lower <= max(size.lower, 2) and upper == size.upper:
            return _fixed(plan, names[0], complaints, again.where)
        if not _open(plan, names[0]):
            shown = relation.shown({}).replace(names[0], size.path)
            options = ([f"min={lower}"] if lower > max(size.lower, 2) else []) + (
                [f"max={upper}"] if upper is not None and upper != size.upper else [])
            complaints.add(size, f"Not all values of {_called(size)} in the specified range satisfy the generated "
                           f"guard {shown}.{_told(again.where)}",
                           f"{size.name} = Dim('{size.name}', {', '.join(options)})" if size.name else "")
        size = replace(size, lower=lower if lower > max(size.lower, 2) else size.lower, upper=upper)
        return replace(plan, sizes={**plan.sizes, names[0]: size})
    if relation.name == "eq" and len(names) == 2 and len(difference.terms) == 2 \
            and plan.sizes[names[0]].hint == plan.sizes[names[1]].hint \
            and sorted(difference.terms.values()) == sorted([-max(difference.terms.values()),
                                                             max(difference.terms.values())]):
        return _same(plan, names[0], names[1], complaints, again.where)
    loose = [name for name in names if _open(plan, name)] or names
    return _fixed(plan, loose[-1], complaints, again.where)


def _step(relation: Relation, size: Size) -> int | None:
    """Of what a size has to be a multiple for a relation to hold."""
    for step in range(2, 65):
        values = [step * k for k in range(1, 40) if step * k >= size.lower
                  and (size.upper is None or step * k <= size.upper)]
        if size.hint % step == 0 and step % size.step == 0 and step != size.step \
                and all(_holds(relation, size.symbol, value) for value in values):
            return step
    return None


def _holds(relation: Relation, symbol: str, value: int) -> bool:
    try:
        return relation.at({symbol: value})
    except ZeroDivisionError:
        return False


def _multiple(plan: Plan, size: Size, step: int) -> Plan:
    return replace(plan, sizes={**plan.sizes, size.symbol: replace(size, step=step)})


def _stepped(plan: Plan, size: Size, step: int, relation: Any, complaints: Complaints, where: str) -> Plan:
    if _open(plan, size.symbol):
        return _fixed(plan, size.symbol, complaints, where)
    asked = f"({size.path} % {step}) == 0"
    complaints.add(size, f"Not all values of {_called(size)} in the specified range satisfy the generated guard "
                   f"{asked}.{_told(where)}",
                   f"_{size.name} = Dim('_{size.name}')\n  {size.name} = {step}*_{size.name}" if size.name else "")
    return _multiple(plan, size, step)


def _by_trial(capture: Any, plan: Plan, again: Again, complaints: Complaints) -> Plan:
    """An operation fails in a case, or gives something else: which sizes have to be what, found by trying."""
    free = plan.free
    tries: list[tuple[Plan, Callable[[Complaints], Plan]]] = []
    where = again.where if again.error is None else f"{again.where}    {type(again.error).__name__}: {again.error}\n"
    for one, other in combinations(free, 2):
        if one.hint == other.hint:
            a, b = one.symbol, other.symbol
            tries.append((_same(plan, a, b, Complaints(), ""),
                          lambda said, a=a, b=b: _same(plan, a, b, said, where)))  # type: ignore[misc]
    for size in free:
        for step in range(2, min(size.hint, 64) + 1):
            if size.hint % step == 0 and size.kind != "auto" and step < size.hint and step % size.step == 0 \
                    and step != size.step:
                tries.append((_multiple(plan, size, step),
                              lambda said, size=size, step=step: _stepped(  # type: ignore[misc]
                                  plan, size, step, None, said, where)))
    for size in free:
        tries.append((_fixed(plan, size.symbol, Complaints(), ""),
                      lambda said, size=size: _fixed(plan, size.symbol, said, where)))  # type: ignore[misc]
    for trial, accept in tries:
        try:
            capture(trial)
        except Again as other_again:
            if other_again.at <= again.at:
                continue
        return accept(complaints)
    found = plan
    for size in free:
        found = _fixed(found, size.symbol, complaints, where)
    return found
