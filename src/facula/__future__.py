"""Switches for what `nn.Module` does with its parameters when they are converted."""

from __future__ import annotations

_overwrite = False
_swap = False


def set_overwrite_module_params_on_conversion(value: bool) -> None:
    """Have `module.to(...)` and the like put new Parameters in the place of the old ones."""
    global _overwrite
    _overwrite = value


def get_overwrite_module_params_on_conversion() -> bool:
    """Are Parameters replaced when a module is converted? (False, unless it has been asked for.)"""
    return _overwrite


def set_swap_module_params_on_conversion(value: bool) -> None:
    """Accepted: a Parameter stays the object that it is when a module is converted, whatever is said here."""
    global _swap
    _swap = value


def get_swap_module_params_on_conversion() -> bool:
    """What `set_swap_module_params_on_conversion` was told."""
    return _swap
