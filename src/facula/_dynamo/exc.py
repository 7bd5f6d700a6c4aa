"""Errors of PyTorch's tracer, for `except` clauses. `torch.export` raises UserError, control flow
UncapturedHigherOrderOpError, nothing else here any."""

from __future__ import annotations


class TorchDynamoException(RuntimeError):
    """Base class of the tracer's errors.

    Example:
        >>> from facula._dynamo import exc
        >>> issubclass(exc.Unsupported, exc.TorchDynamoException)
        True
    """


class Unsupported(TorchDynamoException):
    """A program that the tracer cannot follow."""


class TorchRuntimeError(TorchDynamoException):
    """An operation that failed while it was traced."""


class BackendCompilerFailed(TorchDynamoException):
    """A compiler behind the tracer that failed."""


class UserError(Unsupported):
    """A program that does what may not be traced."""


class UncapturedHigherOrderOpError(TorchDynamoException):
    """Functions of control flow (`torch.cond`, `torch.while_loop`) that cannot be one operation: branches that do not
    agree, a function that writes into what it is given or hands it back."""
