"""An operation's sample as a function of its arrays, and a module that calls a function."""

from __future__ import annotations

import numpy as np

import facula
from facula.testing.samples.arrays import Dtype


class Calling(facula.nn.Module):
    """Calls `function`, whatever that is: a module in it is no part of this one."""

    def __init__(self, function):
        super().__init__()
        self.__dict__["function"] = function

    def forward(self, *args):
        return self.function(*args)


def apart(sample, form):
    """(function of tensors, tensors): `form` called with the sample's arguments, its arrays taken out."""
    arrays = []

    def out(value):
        if isinstance(value, np.ndarray):
            arrays.append(facula.from_numpy(np.array(value)))
            return ("array", len(arrays) - 1)
        if isinstance(value, Dtype):
            return getattr(facula, value)
        if isinstance(value, list):
            return [out(part) for part in value]
        if type(value) is tuple:
            return ("tuple", [out(part) for part in value])
        return {key: out(part) for key, part in value.items()} if isinstance(value, dict) else value

    def together(value, given):
        if isinstance(value, list):
            return [together(part, given) for part in value]
        if type(value) is tuple:
            return given[value[1]] if value[0] == "array" else tuple(together(part, given) for part in value[1])
        return {key: together(part, given) for key, part in value.items()} if isinstance(value, dict) else value

    args, kwargs = out(tuple(sample.args)), out(sample.kwargs)
    return lambda *given: form(*together(args, given), **together(kwargs, given)), arrays
