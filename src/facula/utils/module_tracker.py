"""Which module's forward is running (`torch.utils.module_tracker`)."""

from __future__ import annotations

import threading
import weakref
from typing import Any

from facula.nn.modules.module import Module, register_module_forward_hook, register_module_forward_pre_hook
from facula.undisturbed import undisturbed

# Of each module the name that its root's first call gave it; a class's own name where it was called by itself.
_names: weakref.WeakKeyDictionary[Module, str] = weakref.WeakKeyDictionary()


class ModuleTracker:
    """Within it `parents` has the names of the modules whose forward this thread is in ("Net.layers.0"), and "Global".

    Example:
        >>> import facula
        >>> from facula.utils.module_tracker import ModuleTracker
        >>> model = facula.nn.Sequential(facula.nn.ReLU())
        >>> with ModuleTracker() as tracker:
        ...     handle = model[0].register_forward_pre_hook(lambda *_: print(sorted(tracker.parents)))
        ...     y = model(facula.ones(2))
        ['Global', 'Sequential', 'Sequential.0']
    """

    def __init__(self) -> None:
        self._local = threading.local()
        self._handles: list[Any] = []

    @property
    def stack(self) -> list[tuple[str, Module]]:
        """The same, outermost first, with the modules."""
        found: list[tuple[str, Module]] = self._local.__dict__.setdefault("stack", [])
        return found

    @property
    def parents(self) -> set[str]:
        """Their names, and "Global"."""
        return {"Global", *(name for name, _ in self.stack)}

    def entered(self, module: Module) -> None:
        """`module` begins; for who wants to know of it."""

    def left(self, module: Module, output: Any) -> None:
        """It has ended."""

    def _enter(self, module: Module, args: Any) -> None:
        stack = self.stack
        if not stack:
            root = type(module).__name__
            for path, part in module.named_modules():
                _names[part] = f"{root}.{path}" if path else root
        stack.append((_names.get(module, type(module).__name__), module))
        self.entered(module)

    def _leave(self, module: Module, args: Any, output: Any) -> None:
        stack = self.stack
        while stack:  # what raised has left its entries
            _, last = stack.pop()
            if last is module:
                self.left(module, output)
                return

    def __enter__(self) -> Any:
        self._handles = [register_module_forward_pre_hook(self._enter), register_module_forward_hook(self._leave)]
        return self

    @undisturbed
    def __exit__(self, *exc: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._local = threading.local()
