"""What modules print of themselves."""

from __future__ import annotations

from typing import Any


def options_text(module: Any, **defaults: Any) -> str:
    """", name=value" of each attribute named that is not what it is by default."""
    text = ""
    for name, default in defaults.items():
        value = getattr(module, name)
        is_default = value is default if default is None or default is True or default is False \
            else value == default
        if not is_default:
            text += f", {name}={value}"
    return text
