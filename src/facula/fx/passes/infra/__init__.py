"""Passes as objects, managers that run several, and the partitioning by what a backend supports."""

from facula.fx.passes.infra import pass_manager

__all__ = ["pass_manager"]
