"""Handing recorded work to the engine at the end of a step: a loop that asks for no value must not grow."""

from facula.engine.realize import flush

__all__ = ["flush"]
