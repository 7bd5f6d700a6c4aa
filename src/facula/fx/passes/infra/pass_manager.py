"""`PassManager`: several passes, one after another, in an order that meets constraints."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from queue import Queue
from typing import Any

from facula.fx._compatibility import compatibility
from facula.fx.graph_module import GraphModule
from facula.fx.passes.infra.pass_base import PassResult

__all__ = ["PassManager", "pass_result_wrapper", "this_before_that_pass_constraint"]


@compatibility(is_backward_compatible=False)
def pass_result_wrapper(fn: Callable[..., Any]) -> Callable[..., PassResult | None]:
    """A function of a module, in place or with another one as its result, as a pass that gives a PassResult."""
    if fn is None:
        return None

    @wraps(fn)
    def wrapped(gm: Any) -> PassResult | None:
        found = fn(gm)
        if found is None:
            return PassResult(gm, True)
        return found if isinstance(found, PassResult) else PassResult(found, True)
    if not inspect.isfunction(fn):
        wrapped.__name__ = type(fn).__name__
    return wrapped


def _validate_pass_schedule_constraint(constraint: Callable[[Any, Any], bool], passes: list[Any]) -> None:
    for i, one in enumerate(passes):
        for j, other in enumerate(passes[i + 1:], i + 1):
            if not constraint(one, other):
                raise RuntimeError(f"pass schedule constraint violated. Expected {one} before {other} but found {one} "
                                   f"at index {i} and {other} at index {j} in pass list.")


def _topological_sort_passes(passes: list[Any], constraints: list[Callable[[Any, Any], bool]]) -> list[Any]:
    """The passes in an order that meets the constraints. RuntimeError if there is none."""
    if not constraints:
        return passes
    after: dict[int, list[int]] = {k: [] for k in range(len(passes))}
    waiting = dict.fromkeys(range(len(passes)), 0)
    for i, one in enumerate(passes):
        for j, other in enumerate(passes):
            if i != j and any(not constraint(other, one) for constraint in constraints):
                after[i].append(j)
                waiting[j] += 1
    ready: Queue[int] = Queue()
    for k, count in waiting.items():
        if not count:
            ready.put(k)
    found = []
    while not ready.empty():
        k = ready.get()
        found.append(k)
        for j in after[k]:
            waiting[j] -= 1
            if not waiting[j]:
                ready.put(j)
    if len(found) != len(passes):
        raise RuntimeError(f"Circular dependency detected within the following passes: "
                           f"{[passes[k] for k, count in waiting.items() if count]}")
    return [passes[k] for k in found]


@compatibility(is_backward_compatible=False)
def this_before_that_pass_constraint(this: Any, that: Any) -> Callable[[Any, Any], bool]:
    """A constraint: `this` comes before `that`."""
    def constraint(a: Any, b: Any) -> bool:
        return not (a == that and b == this)
    return constraint


@compatibility(is_backward_compatible=False)
class PassManager:
    """Runs passes on a module, `steps` times or until one time changes nothing.

    Args:
        passes: functions or PassBase objects that take a module and give a PassResult.
        constraints: functions of two passes: may the first come before the second?
        steps: how many times at most.
        run_checks_after_each_pass: call what `add_checks` was given after each pass.
        suppress_check_failures: go on where a check raises.

    Raises:
        TypeError, Exception: a pass fails, or gives something else; the message says which one, after which others.
    """

    def __init__(self, passes: list[Any] | None = None, constraints: list[Any] | None = None,
                 steps: int | None = None, run_checks_after_each_pass: bool = False,
                 suppress_check_failures: bool = False) -> None:
        self.passes: list[Any] = passes or []
        self.constraints: list[Any] = constraints or []
        self.steps = steps or 1
        self.run_checks_after_each_pass = run_checks_after_each_pass
        self.suppress_check_failures = suppress_check_failures
        self._validated = False

    def add_pass(self, _pass: Any) -> None:
        """Have another pass at the end."""
        self.passes.append(_pass)
        self._validated = False

    def add_constraint(self, constraint: Any) -> None:
        """Have another constraint."""
        self.constraints.append(constraint)
        self._validated = False

    def validate_constraints(self) -> None:
        """RuntimeError if the passes are in an order that a constraint forbids."""
        if not self._validated:
            for constraint in self.constraints:
                _validate_pass_schedule_constraint(constraint, self.passes)
            self._validated = True

    def solve_constraints(self) -> None:
        """Put the passes into an order that meets the constraints."""
        self.passes = _topological_sort_passes(self.passes, self.constraints)
        self._validated = True

    def add_checks(self, check: Callable[..., Any]) -> None:
        """Have `check(module)` called after the passes. ValueError unless it takes one argument."""
        if len(inspect.signature(check).parameters) != 1:
            raise TypeError("PassManager check function should only take in one variable, a module")
        self.check = check  # type: ignore[method-assign]

    def check(self, module: Any) -> None:
        """What is checked; nothing, until `add_checks` says so."""

    def __call__(self, module: Any) -> PassResult:
        if not self._validated:
            self.solve_constraints()
        self.check(module)
        overall = False
        for _ in range(self.steps):
            modified = False
            for k, one in enumerate(self.passes):
                name = one.__name__ if inspect.isfunction(one) else type(one).__name__
                try:
                    found = one(module)
                    if not isinstance(found, PassResult) and not hasattr(found, "graph_module"):
                        raise TypeError(f"The result of the pass {name} should be type PassResult.Please wrap it with "
                                        "pass_result_wrapper()")
                    module = found.graph_module
                    modified = modified or found.modified
                    if isinstance(module, GraphModule):
                        module.recompile()
                    if self.run_checks_after_each_pass:
                        self.check(module)
                except Exception as error:
                    before = [p.__name__ if inspect.isfunction(p) else type(p).__name__ for p in self.passes[:k]]
                    raise Exception(f"An error occurred when running the '{name}' pass after the following passes: "
                                    f"{before}") from error
            overall = overall or modified
            if not modified:
                break
        return PassResult(module, overall)
