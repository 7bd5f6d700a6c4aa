"""What a request may fail of, with the status that HTTP and gRPC give it."""

from __future__ import annotations


class ServingError(Exception):
    """`status` is HTTP's, `code` the name of gRPC's. `retry_after`: seconds after which to ask again."""

    status = 500
    code = "INTERNAL"
    retry_after: int | None = None

    @property
    def message(self) -> str:
        return str(self)


class BadRequest(ServingError):
    """The request is not what the protocol or the model takes."""

    status, code = 400, "INVALID_ARGUMENT"


class Unauthorized(ServingError):
    status, code = 401, "UNAUTHENTICATED"


class NotFound(ServingError):
    status, code = 404, "NOT_FOUND"


class NotAllowed(ServingError):
    """There is such a path, for other methods: `allow`."""

    status, code = 405, "UNIMPLEMENTED"

    def __init__(self, allow: str) -> None:
        super().__init__(f"this path takes {allow}")
        self.allow = allow


class TooLarge(ServingError):
    status, code = 413, "RESOURCE_EXHAUSTED"


class Busy(ServingError):
    """The queue is full, or the server is about to end: ask again."""

    status, code, retry_after = 503, "UNAVAILABLE", 1


class NotReady(ServingError):
    status, code, retry_after = 503, "UNAVAILABLE", 1


class TooLate(ServingError):
    """The deadline has passed before the request was run."""

    status, code = 504, "DEADLINE_EXCEEDED"
