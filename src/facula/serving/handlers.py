"""Plain Python as a model: a class with `load` and `predict`, and what goes around them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from .settings import Settings, Spec


class Handler:
    """What a program of one's own may be served as. Derive from it, and write what is needed of it.

    `predict` sees the same whether requests were put together or not: a dict of tensors with rows first, and gives a
    tensor, a tuple or a dict of them with as many rows. `preprocess` and `postprocess` see one request.

    inputs, outputs   what it takes and gives, where the configuration does not say: then it is warmed up, and
                      requests are checked

    Example:
        >>> from facula.serving import Handler
        >>> class Doubled(Handler):
        ...     def predict(self, inputs):
        ...         return {"y": inputs["x"] * 2}
    """

    inputs: tuple[Spec, ...] = ()
    outputs: tuple[Spec, ...] = ()

    def completed(self, settings: Settings) -> Settings:
        """The settings, with what the handler itself says of its inputs and outputs. Asked after `load`."""
        return replace(settings, inputs=settings.inputs or tuple(self.inputs),
                       outputs=settings.outputs or tuple(self.outputs))

    def load(self, settings: Settings) -> None:
        """Get ready: read weights (from `settings.arguments`), build the model. Called once, before any request."""

    def preprocess(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """A request's inputs, by name (facula tensors; NumPy arrays of BYTES and of wide unsigned integers), as
        `predict` wants them."""
        return inputs

    def predict(self, inputs: dict[str, Any]) -> Any:
        """The outputs for all rows of `inputs`."""
        raise NotImplementedError(f"{type(self).__name__} has no predict")

    def postprocess(self, outputs: dict[str, Any]) -> dict[str, Any]:
        """A request's outputs, by name, as they are sent."""
        return outputs

    def stream(self, inputs: dict[str, Any]) -> Iterator[Any]:
        """One output after another, for who asks for a stream; without it there is one, `predict`'s."""
        yield self.predict(inputs)

    def unload(self) -> None:
        """Let go of what `load` took. Called once, after the last request."""
