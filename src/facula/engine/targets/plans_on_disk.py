"""Plans that other processes have made: what the passes, or the symbols, gave for a structure is kept beside the
machine code (runtime/cpu/object_cache.py), so that the first step of the next run costs reading instead of compiling.

The name of an entry is a digest of all that a plan follows from: the structure, the machine, the thresholds, this
Python, and the engine's own files as they are. An entry is an exact plan (of one list of sizes) or a template, by a
number. Like machine code it is trusted because nobody else may write there; even so, unpickling finds nothing but the
engine's own classes and functions.

Off with FACULA_DEBUG and FACULA_VERIFY (what the compiler does is to be seen), and where a structure holds what
cannot be said in words (`_Unspoken`): then the passes run, as they would without any of this.
"""

from __future__ import annotations

import functools
import hashlib
import io
import marshal
import os
import pickle
import sys
import zlib
from collections.abc import Callable
from dataclasses import fields
from importlib.util import MAGIC_NUMBER
from types import FunctionType
from typing import Any

from facula import config, dtypes
from facula.dtypes import dtype
from facula.engine.compiler.kernel import Machine
from facula.engine.compiler.plan import PlanSpec
from facula.engine.compiler.symbols import SPACE
from facula.engine.graph.expr import Expr, make
from facula.engine.graph.node import Formula, Primitive
from facula.engine.graph.primitives import PRIMITIVES
from facula.engine.runtime.cpu import object_cache
from facula.engine.trace.structure import Structure
from facula.size import Size
from facula.version import __version__

EXACT, TEMPLATES = 4, 8  # of a structure, at most; then new ones take the places of the first
_ENGINE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_DTYPES: dict[str, dtype] = {d.name: d for d in vars(dtypes).values() if isinstance(d, dtype)}


class _Unspoken(Exception):
    """There are no words for this: its plan is not kept on disk."""


def name_of(structure: Structure, machine: Machine) -> str:
    """What the structure's entries are called; "" if it has none."""
    engine = _engine()
    if not engine or config.VERIFY.value or config.DEBUG.value or not object_cache.directory():
        return ""
    try:
        return object_cache.key("plan", engine, _machine(machine), _said(structure))
    except _Unspoken:
        return ""


# ---- what a plan follows from, in words ---------------------------------------------------------------------


@functools.cache
def _engine() -> str:
    """A digest of the engine as it is and of how it is set; "" if its files are not to be found."""
    parts = [__version__, sys.version, sys.implementation.cache_tag or "", MAGIC_NUMBER.hex()]
    parts += [f"{name}={config.threshold(name)}" for name in config.THRESHOLDS]
    files = [dtypes.__file__]
    try:
        for folder, below, names in os.walk(_ENGINE):
            below[:] = sorted(name for name in below if name != "__pycache__")
            files += [os.path.join(folder, name) for name in sorted(names)]
        for path in files:
            found = os.stat(path)
            parts.append(f"{path} {found.st_size} {found.st_mtime_ns}")
    except OSError:
        return ""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest() if len(files) > 1 else ""


@functools.cache
def _machine(machine: Machine) -> str:
    table = machine.table
    facts = [getattr(table, field.name) for field in fields(table)]
    return repr([fact if isinstance(fact, (bool, int, str)) else getattr(fact, "name", fact is not None)
                 for fact in facts]) + repr((machine.caches, machine.programs))


def _said(value: Any) -> str:
    """Equal for what is equal, on every day and in every process, and different for what is different."""
    kind = type(value)
    if kind is tuple:
        return f"({','.join(map(_said, value))})"
    if kind is int or kind is str or kind is bool or value is None:
        return repr(value)
    if kind is float:
        return value.hex()  # type: ignore[no-any-return]
    if kind is complex:
        return f"{value.real.hex()}+{value.imag.hex()}j"
    if kind is dtype:
        return f"<{value.name}>"
    if kind is Formula:
        return _formula(value)
    if kind is Primitive and PRIMITIVES.get(name := value.name) is value:  # type: ignore[union-attr]
        return f"<{name}>"
    raise _Unspoken(value)


@functools.lru_cache(4096)
def _formula(op: Formula) -> str:
    places = {e: k for k, e in enumerate(op.order)}
    terms = ",".join([f"{e.fn}({','.join([str(places[a]) for a in e.args])};{_said(e.value)})" for e in op.order])
    return f"<{op.name!r}:{terms}>"


# ---- entries ------------------------------------------------------------------------------------------------


def exact_plans(name: str) -> dict[tuple[int, ...], PlanSpec]:
    """By their sizes."""
    found: dict[tuple[int, ...], PlanSpec] = {}
    for k in range(EXACT):
        entry = _load(f"{name}-e{k}")
        if entry is None:
            break
        found[entry[0]] = entry[1]
    return found


def keep_exact(name: str, number: int, sizes: list[int], spec: PlanSpec) -> None:
    _store(f"{name}-e{number % EXACT}", (tuple(sizes), spec))


def templates(name: str) -> list[tuple[Any, ...]]:
    """What `keep_template` was given of them."""
    found: list[tuple[Any, ...]] = []
    for k in range(TEMPLATES):
        entry = _load(f"{name}-t{k}")
        if entry is None:
            break
        code, space, *facts = entry
        found.append((FunctionType(marshal.loads(code), {**space, **SPACE}), *facts))
    return found


def keep_template(name: str, number: int, function: Callable[..., Any], *facts: Any) -> None:
    """`function`: what a trace has written."""
    names = set(function.__code__.co_names).difference(SPACE)
    space = {key: value for key, value in function.__globals__.items() if key in names}
    _store(f"{name}-t{number % TEMPLATES}", (marshal.dumps(function.__code__), space, *facts))


def _store(name: str, entry: object) -> None:
    file = io.BytesIO()
    try:
        _Pickler(file, 5).dump(entry)
    except (pickle.PicklingError, AttributeError, TypeError, RecursionError):  # something in it is of this process
        return
    object_cache.store(name, zlib.compress(file.getbuffer(), 1))


def _load(name: str) -> Any:
    payload = object_cache.load(name)
    if payload is None:
        return None
    try:
        return _Unpickler(io.BytesIO(zlib.decompress(payload))).load()
    except Exception:  # whatever is wrong with it: the passes run
        return None


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        if type(value) is dtype:
            return "dtype", value.name
        if type(value) is Formula:
            places = {e: k for k, e in enumerate(value.order)}
            return "formula", value.name, [(e.fn, [places[a] for a in e.args], e.value) for e in value.order]
        if isinstance(value, Primitive):
            if PRIMITIVES.get(value.name) is not value:
                raise pickle.PicklingError(repr(value))
            return "primitive", value.name
        return None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, which: Any) -> Any:
        kind, name, *rest = which
        if kind == "formula":
            terms: list[Expr] = []
            for fn, args, value in rest[0]:
                terms.append(make(fn, *[terms[k] for k in args], value=value))
            return Formula(name, terms[-1])
        return _DTYPES[name] if kind == "dtype" else PRIMITIVES[name]

    def find_class(self, module: str, name: str) -> Any:
        if "." in name or module != Size.__module__ and not module.startswith("facula.engine."):
            raise pickle.UnpicklingError(f"{module}.{name}")
        found = super().find_class(module, name)
        if getattr(found, "__module__", None) != module:  # it only imports it
            raise pickle.UnpicklingError(f"{module}.{name}")
        return found
