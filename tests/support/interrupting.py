"""Exceptions at chosen places of Facula's own code, as a signal handler's would come.

CPython asks for signals where a function begins, where a loop turns back and where a call has returned. `at` raises
there, at the k-th such place that a call of Facula's code passes; `Alarm` raises from a timer, wherever that is.
"""

from __future__ import annotations

import dis
import functools
import os
import signal
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any

import numpy as np

import facula
from facula.overrides import TorchFunctionMode
from standing import standing

PACKAGE = os.path.dirname(os.path.abspath(facula.__file__)) + os.sep
_TURNS = frozenset(("JUMP_BACKWARD", "JUMP_ABSOLUTE"))
_GOES_ON = 2  # a RESUME that does not look: facula/undisturbed.py
NEVER = 1 << 60


class Stop(KeyboardInterrupt):
    """What arrives."""


@functools.cache
def _looks(code: CodeType) -> frozenset[int]:
    """Offsets of instructions before which a signal may be noticed."""
    blocks = getattr(dis, "_parse_exception_table", lambda _: ())(code)

    def handler(at: int) -> Any:
        return next((block.target for block in blocks if block.start <= at < block.end), None)

    found, call = [], None
    for one in dis.get_instructions(code):
        # What comes after a call is raised where the call is: what follows must be in the same `try`.
        if one.opname in _TURNS or call is not None and handler(call) == handler(one.offset):
            found.append(one.offset)
        if one.opname not in ("CACHE", "EXTENDED_ARG"):
            call = one.offset if one.opname.startswith("CALL") else None
    return frozenset(found)


@functools.cache
def _begins(code: CodeType) -> frozenset[int]:
    """Offsets of instructions at which a function that begins, or a generator that goes on, looks for signals. A trace
    function is told of these as calls."""
    return frozenset(one.offset for one in dis.get_instructions(code)
                     if one.opname == "RESUME" and (one.arg or 0) & 3 < _GOES_ON)


def _never(code: CodeType) -> tuple[int, ...]:
    return ()


def at(k: int, call: Callable[[], Any]) -> tuple[bool, int, str]:
    """Run `call`, raising Stop at the k-th place within the package. Did Stop arrive, how many places were passed, and
    where was the last of them?"""
    passed, where = 0, ""

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal passed, where
        if event == "call":
            if not frame.f_code.co_filename.startswith(PACKAGE) or frame.f_code.co_name == "__del__":
                return None
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
        if frame.f_lasti in (_looks if event == "opcode" else _begins if event == "call" else _never)(frame.f_code):
            passed += 1
            if passed > k:
                where = f"{frame.f_code.co_filename[len(PACKAGE):]}:{frame.f_lineno} {frame.f_code.co_name}"
                sys.settrace(None)
                raise Stop
        return trace

    before = sys.gettrace()
    try:
        sys.settrace(trace)
        call()
    except Stop:
        return True, passed, where
    finally:
        sys.settrace(before)
    return False, passed, where


class Alarm:
    """Raises Stop once, when `seconds` are over."""

    def __init__(self) -> None:
        self.armed = False
        self.before = signal.signal(signal.SIGALRM, self._ring)

    def _ring(self, *_: Any) -> None:
        if self.armed:
            self.armed = False
            raise Stop

    def during(self, seconds: float, call: Callable[[], Any]) -> bool:
        """Did Stop arrive during `call`?"""
        try:
            self.armed = True
            signal.setitimer(signal.ITIMER_REAL, seconds)
            call()
            self.armed = False
        except Stop:
            return True
        finally:
            self.armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        return False

    def close(self) -> None:
        signal.signal(signal.SIGALRM, self.before)


# ---- what is interrupted --------------------------------------------------------------------------------------


class Program:
    """A loop with a state. `step` gives a number; `tensors` are what it changes; each holds what it held before a step
    or what it holds after, wherever that is interrupted, if `whole`."""

    whole = True

    def step(self) -> float:
        raise NotImplementedError

    def tensors(self) -> list[Any]:
        raise NotImplementedError

    def check(self) -> None:
        """AssertionError if something is wrong now, whatever has come in between."""

    def close(self) -> None:
        """The end of what it has begun."""


class Training(Program):
    """A small network; `hooks`: of tensors and modules, a Function of the user's own, gradients added up."""

    def __init__(self, optimizer: str, hooks: bool = False) -> None:
        facula.manual_seed(3)
        nn = facula.nn
        self.net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
        parameters = list(self.net.parameters())
        options = {"SGD": {"lr": 0.1, "momentum": 0.9}}.get(optimizer, {})
        self.optimizer = getattr(facula.optim, optimizer)(parameters, **options)
        self.batch, self.hooks = facula.randn(32, 8), hooks
        self.whole = optimizer != "AdamW"  # which writes twice: the decay, then the step
        self.seen = 0
        if hooks:
            self.net[2].register_full_backward_hook(self._count)
            parameters[0].register_hook(lambda g: g * 2)

    def _count(self, *_: Any) -> None:
        self.seen += 1

    def step(self) -> float:
        self.optimizer.zero_grad()
        out = self.net(self.batch)
        if self.hooks:
            out = Twice.apply(out)
            out.pow(2).mean().backward()
            out = self.net(self.batch)
        loss = out.pow(2).mean()
        loss.backward()
        facula.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()

    def tensors(self) -> list[Any]:
        parameters = list(self.net.parameters())
        return parameters + [value for p in parameters for value in self.optimizer.state[p].values()
                             if isinstance(value, facula.Tensor)]


class Twice(facula.autograd.Function):
    """A Function of the user's own."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 2

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * 2


class Passing(TorchFunctionMode):
    """A mode that passes all on."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*args, **(kwargs or {}))


class Writing(Program):
    """A loop of writes in place, through views, with steps that NumPy computes (a sort, a scatter) between."""

    def __init__(self) -> None:
        self.cache, self.sums = facula.zeros(64, 16), facula.zeros(16)
        self.large = facula.ones(1 << 19)  # long enough for a result that takes its memory
        self.rows = facula.arange(64)

    def step(self) -> float:
        for k in range(4):
            self.cache[k * 3] += k
            self.cache[:, k].mul_(0.5)
        order = self.cache[:4].sort(dim=1).values
        self.sums.add_(order.sum(0))
        self.cache.index_add_(0, self.rows[:4], order)
        self.large.mul_(0.5).add_(1)
        self.large[3] = self.sums[2]
        with facula.device("cpu"), facula.no_grad():
            return (self.sums.sum() + self.large.sum()).item()

    whole = False  # several writes to one tensor

    def tensors(self) -> list[Any]:
        return [self.cache, self.sums, self.large]


class Saving(Program):
    """A checkpoint to a path: the old or the new file is there, and nothing else."""

    def __init__(self, folder: Any) -> None:
        self.folder, self.path = folder, os.path.join(folder, "state.pt")
        self.values = facula.zeros(1000)

    def step(self) -> float:
        self.values += 1
        facula.save({"values": self.values}, self.path)
        return self.values[0].item()

    def tensors(self) -> list[Any]:
        return [self.values]

    def check(self) -> None:
        assert os.listdir(self.folder) == ["state.pt"], os.listdir(self.folder)
        found = facula.load(self.path)["values"]
        assert bool((found == found[0]).all())


def programs(folder: Any) -> dict[str, Callable[[], Program]]:
    return {"sgd": lambda: Training("SGD"), "adam": lambda: Training("Adam"),
            "hooks": lambda: Training("AdamW", hooks=True), "writing": Writing, "saving": lambda: Saving(folder)}


class Interrupted:
    """A program that has been run once without interrupts, and what is wrong after some."""

    def __init__(self, program: Program) -> None:
        self.program = program
        for _ in range(4):  # seen, compiled, replayed
            program.step()
        self.standing = standing()
        self.start = [t.detach().cpu().numpy().copy() for t in program.tensors()]
        for _ in range(3):
            self.restore()
            program.step()
        self.one = self.values()
        self.restore()
        self.expected = self.after()
        self.places = max(self._places() for _ in range(2))
        self.wrong: list[str] = []

    def restore(self) -> None:
        with facula.no_grad():
            for t, value in zip(self.program.tensors(), self.start, strict=True):
                t.copy_(facula.from_numpy(value.copy()))

    def values(self) -> list[np.ndarray]:
        return [t.detach().cpu().numpy().copy() for t in self.program.tensors()]

    def after(self) -> list[Any]:
        return [self.program.step(), self.program.step(), *self.values()]

    def _places(self) -> int:
        self.restore()
        return at(NEVER, self.program.step)[1]

    def once(self, interrupt: Callable[[Callable[[], Any]], tuple[bool, str]], restore: bool = True) -> bool:
        """Have a step interrupted, and see what is wrong after it. Did something come?"""
        if restore:
            self.restore()
        hit, where = interrupt(self.program.step)
        try:
            now = standing()
            for what, value in self.standing.items():
                if now[what] != value:
                    self.wrong.append(f"{where}: {what} is {now[what]}, not {value}")
                    self.standing = now  # once is enough
            self.program.check()
            if restore and self.program.whole:
                for now, before, then in zip(self.values(), self.start, self.one, strict=True):
                    if not np.array_equal(now, before) and not np.array_equal(now, then):
                        self.wrong.append(f"{where}: a tensor holds neither what it held nor what it comes to")
            self.program.step()
            self.restore()
            if not all(map(np.array_equal, self.after(), self.expected)):
                self.wrong.append(f"{where}: other numbers")
        except Exception as error:
            self.wrong.append(f"{where}: {type(error).__name__}: {error}")
        return hit
