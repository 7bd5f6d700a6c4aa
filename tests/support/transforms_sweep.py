"""What the sweeps of transforms share: an operation as a function of its arrays."""

import warnings

import numpy as np

import facula
from facula.testing.samples import Dtype
from sweep import flat, look_up


class Slot(int):
    """The place of an argument that is handed in."""


def variables(name, sample, all_arrays=False):
    """(function of tensors, their arrays): the sample's float arrays, or all, are handed in; what is left stands."""
    arrays = []

    def take(value):
        if isinstance(value, np.ndarray):
            if all_arrays or value.dtype == np.float64:
                arrays.append(value)
                return Slot(len(arrays) - 1)
            return facula.from_numpy(value.copy())
        if isinstance(value, Dtype):
            return getattr(facula, value)
        if isinstance(value, (list, tuple)):
            return type(value)([take(part) for part in value])
        if isinstance(value, dict):
            return {key: take(part) for key, part in value.items()}
        return value

    slots = take([sample.args, sample.kwargs])
    function = look_up(facula, name)

    def run(*tensors):
        args, kwargs = put(slots, tensors)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = function(*args, **kwargs)
            if out is None:
                out = args[0]
            return flat(sample.of(out) if sample.of else out)

    return run, arrays


def put(slots, tensors):
    if isinstance(slots, Slot):
        return tensors[slots]
    if isinstance(slots, (list, tuple)):
        return type(slots)([put(part, tensors) for part in slots])
    if isinstance(slots, dict):
        return {key: put(part, tensors) for key, part in slots.items()}
    return slots


def tensors(arrays):
    return [facula.from_numpy(np.array(a)) for a in arrays]
