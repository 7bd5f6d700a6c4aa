"""The names that a pickle may use with `weights_only=True`: the built-in list, and what the user adds."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from pickle import UnpicklingError
from typing import Any

from facula.serialization.limits import shown
from facula.undisturbed import reentrant_lock

# Python 2's names, which protocol 2 writes. Source: `_compat_pickle` of the standard library.
_OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg", "cPickle": "pickle", "Queue": "queue"}
_NEVER = ("sys", "os", "posix", "nt")
_ENCODINGS = ("latin-1", "latin1", "utf-8", "ascii")
_lock = reentrant_lock()
_added: dict[str, Any] = {}


def add_safe_globals(safe_globals: Iterable[Any]) -> None:
    """Let `load(..., weights_only=True)` use these classes and functions, of your own or of other libraries.

    An item may be a pair (object, "full.name") where the pickle calls it by another name. Only add what is
    harmless when called with any arguments.

    Example:
        >>> from facula.serialization import add_safe_globals, clear_safe_globals
        >>> add_safe_globals([slice])
        >>> clear_safe_globals()
    """
    with _lock:
        _added.update(_named(safe_globals))


def get_safe_globals() -> list[Any]:
    """What was added with `add_safe_globals`.

    Example:
        >>> from facula.serialization import get_safe_globals
        >>> get_safe_globals()
        []
    """
    return list(_added.values())


def clear_safe_globals() -> None:
    """Forget what was added with `add_safe_globals`.

    Example:
        >>> from facula.serialization import clear_safe_globals
        >>> clear_safe_globals()
    """
    with _lock:
        _added.clear()


class safe_globals:
    """Context manager: inside, `load(..., weights_only=True)` may use these classes and functions too.

    Example:
        >>> from facula.serialization import safe_globals
        >>> with safe_globals([slice]):
        ...     pass
    """

    def __init__(self, safe_globals: Iterable[Any]) -> None:
        self.names = _named(safe_globals)

    def __enter__(self) -> None:
        with _lock:
            self.before = dict(_added)
            _added.update(self.names)

    def __exit__(self, *exc_info: object) -> None:
        with _lock:
            for name in self.names:
                if name in self.before:
                    _added[name] = self.before[name]
                else:
                    _added.pop(name, None)


def _named(items: Iterable[Any]) -> dict[str, Any]:
    names = {}
    for item in items:
        if isinstance(item, tuple):
            if len(item) != 2:
                raise ValueError("Expected tuple of length 2 (global, str of callable full path), "
                                 f"but got tuple of length: {len(item)}")
            if type(item[1]) is not str:
                raise TypeError("Expected second item in tuple to be str of callable full path, "
                                f"but got: {type(item[1])}")
            names[item[1]] = item[0]
        else:
            names[f"{_torch_module(item.__module__)}.{item.__qualname__}"] = item
    return names


def _torch_module(module: str) -> str:
    """The name by which a pickle calls one of our modules."""
    return "torch" + module[len("facula"):] if module == "facula" or module.startswith("facula.") else module


def _encode(text: str, encoding: str) -> bytes:
    """`_codecs.encode`, as bytes are pickled in protocol 2: for Latin-1 only."""
    if type(text) is not str or type(encoding) is not str or encoding != "latin1":
        raise UnpicklingError(f"_codecs.encode is allowed for 'latin1' only, but got {shown(encoding)}")
    return text.encode("latin1")


def _bytearray(*arguments: Any) -> bytearray:
    """`bytearray`, without the form that takes a length."""
    if arguments and not isinstance(arguments[0], (bytes, bytearray, str)):
        raise UnpicklingError(f"bytearray is allowed of bytes only, but got {type(arguments[0])}")
    if arguments[1:] and (len(arguments) > 2 or type(arguments[1]) is not str or arguments[1] not in _ENCODINGS):
        raise UnpicklingError(f"bytearray is allowed of Latin-1, UTF-8 and ASCII only, but got {shown(arguments)}")
    return bytearray(*arguments)


def _complex(*arguments: Any) -> complex:
    """`complex` of numbers."""
    if not all(type(argument) in (int, float) for argument in arguments):
        raise UnpicklingError(f"complex is allowed of numbers only, but got {shown(arguments)}")
    return complex(*arguments)


HARMLESS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": OrderedDict,
    "collections.Counter": Counter,
    "_codecs.encode": _encode,
    "builtins.bytearray": _bytearray,
    "builtins.set": set,
    "builtins.complex": _complex,
}


def full_name(module: str, name: str) -> str:
    """`module.name` with today's spelling, and with torch's name for our own modules."""
    module = _OLD_MODULES.get(module, module)
    return f"{_torch_module(module)}.{name}"


def find_safe_global(module: str, name: str, known: dict[str, Any]) -> Any:
    """The object that a pickle names, from `known` or the user's additions. UnpicklingError for all else."""
    path = full_name(module, name)
    if len(path) > 500:
        raise UnpicklingError(f"Unsupported global: GLOBAL {path[:500]}... was not an allowed global by default.")
    if _OLD_MODULES.get(module, module) in _NEVER:
        raise UnpicklingError(
            f"Trying to load unsupported GLOBAL {path} whose module {module} is blocked.")
    for table in (known, HARMLESS, _added):
        if path in table:
            return table[path]
    shown = path.removeprefix("builtins.")
    raise UnpicklingError(
        f"Unsupported global: GLOBAL {shown} was not an allowed global by default. Please use "
        f"`torch.serialization.add_safe_globals([{shown}])` or the "
        f"`torch.serialization.safe_globals([{shown}])` "
        "context manager to allowlist this global if you trust this class/function.")


def is_added(item: Any) -> bool:
    """Did the user add this object?"""
    return any(item is one for one in _added.values())
