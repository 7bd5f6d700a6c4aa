"""What PyTorch has and Facula lacks, as names that can be imported and say so when they are used.

Only for names that programs import before they know whether they need them. Whatever else is missing is simply not
there: `__getattr__` of a namespace raises `missing(...)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn


class NotInFacula(NotImplementedError, ValueError):
    """A part of PyTorch that Facula lacks has been used. (A ValueError too: what torch raises of a process group that
    nobody has initialized, which programs catch.)"""


def refusal(name: str, instead: str = "") -> NotInFacula:
    """The exception that says that `name` is missing, and what to do instead."""
    return NotInFacula(f"{name} is not in Facula yet{': ' + instead if instead else ''}")


def missing(module: str, name: str) -> AttributeError:
    """The AttributeError of a namespace that lacks a name."""
    return AttributeError(f"module 'facula.{module}' has no attribute {name!r}: torch.{module}.{name} is no name of "
                          "PyTorch's, or not in Facula yet")


def function(name: str, instead: str = "") -> Callable[..., Any]:
    """A function that raises `refusal(name)`.

    Example:
        >>> from facula import absent
        >>> absent.function("torch.onnx.export")(None)
        Traceback (most recent call last):
        facula.absent.NotInFacula: torch.onnx.export is not in Facula yet
    """
    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise refusal(name, instead)
    refuse.__name__ = refuse.__qualname__ = name.rpartition(".")[2]
    refuse.__doc__ = str(refusal(name, instead)) + "."
    return refuse


class _Missing(type):
    """Attributes of the class (members of an enumeration, say) are missing as well."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise refusal(f"{cls._name}.{name}", cls._instead)  # type: ignore[attr-defined]


def kind(name: str, instead: str = "") -> Any:
    """A class of which there are no instances: for annotations and `isinstance`; to make one raises.

    Example:
        >>> from facula import absent
        >>> ProcessGroup = absent.kind("torch.distributed.ProcessGroup")
        >>> isinstance(1, ProcessGroup)
        False
    """
    def refuse(cls: Any, *args: Any, **kwargs: Any) -> NoReturn:
        raise refusal(name, instead)
    return _Missing(name.rpartition(".")[2], (), {"__new__": refuse, "_name": name, "_instead": instead,
                                                  "__doc__": str(refusal(name, instead)) + "."})
