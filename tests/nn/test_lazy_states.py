"""Lazy modules before their first call: moved, converted, pickled, saved, copied, loaded."""

import copy
import io
import pickle

import numpy as np
import pytest

import facula

LAZY = {
    "linear": lambda lib: lib.nn.LazyLinear(3), "conv": lambda lib: lib.nn.LazyConv2d(3, 2),
    "transposed": lambda lib: lib.nn.LazyConvTranspose1d(3, 2), "batch norm": lambda lib: lib.nn.LazyBatchNorm1d(),
    "instance norm": lambda lib: lib.nn.LazyInstanceNorm1d(affine=True, track_running_stats=True),
}
SHAPES = {"linear": (2, 4), "conv": (2, 4, 5, 5), "transposed": (2, 4, 5), "batch norm": (2, 4),
          "instance norm": (2, 4, 5)}


def saved(lib, module):
    file = io.BytesIO()
    lib.save(module, file)
    file.seek(0)
    return lib.load(file, weights_only=False)


WAYS = {
    "half": lambda lib, m: m.half(), "double": lambda lib, m: m.double(), "to a device": lambda lib, m: m.to("cpu"),
    "to a device and dtype": lambda lib, m: m.to(lib.device("cpu"), lib.float64), "cpu": lambda lib, m: m.cpu(),
    "pickled": lambda lib, m: pickle.loads(pickle.dumps(m)), "saved": saved,
    "loaded": lambda lib, m: (m.load_state_dict(m.state_dict()), m)[1],
    "zero_grad": lambda lib, m: (m.zero_grad(), m)[1],
    "shared": lambda lib, m: m.share_memory(),
}


def told(lib, lazy, way):
    try:
        module = WAYS[way](lib, LAZY[lazy](lib))
    except RuntimeError as error:
        return str(error)
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    facts = {name: [type(t).__name__, str(t.dtype).split(".")[-1], str(t.device)] for name, t in tensors.items()}
    of = next(module.parameters()).dtype
    facts["out"] = list(module(lib.ones(SHAPES[lazy], dtype=of)).shape)
    facts["class"] = type(module).__name__
    return facts


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("lazy", LAZY)
def test_lazy(oracle, lazy, way):
    assert told(facula, lazy, way) == oracle(lambda torch: told(torch, lazy, way))


@pytest.mark.parametrize("lazy", LAZY)
def test_copied(lazy):
    module = LAZY[lazy](facula)
    twin = copy.deepcopy(module)
    twin(facula.ones(SHAPES[lazy]))
    assert module.has_uninitialized_params() and not hasattr(twin, "has_uninitialized_params")


@pytest.mark.parametrize("lazy", LAZY)
def test_on_meta(lazy):
    module = LAZY[lazy](facula).to("meta")
    assert module.has_uninitialized_params() and all(t.is_meta for t in (*module.parameters(), *module.buffers()))


def test_an_optimizer_keeps_its_parameters():
    module = facula.nn.LazyLinear(3)
    weight = module.weight
    module.to("cpu").double()
    assert module.weight is weight and weight.dtype is facula.float64


ARRAYS = {"float64": np.array([1.0, 2.0]), "float32": np.array([1, 2], np.float32), "int64": np.array([1, 2]),
          "bool": np.array([True, False])}
OPERATORS = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
    "pow": lambda a, b: a ** b, "floor": lambda a, b: a // b, "mod": lambda a, b: a % b, "lt": lambda a, b: a < b,
    "eq": lambda a, b: a == b, "and": lambda a, b: a & b, "matmul": lambda a, b: a @ b,
}


@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("name", OPERATORS)
def test_arrays_beside_tensors(oracle, name, array):
    """array + tensor is refused; tensor + array NumPy computes, so it must not need a gradient."""
    def ask(lib):
        found = []
        for tensor in (lib.tensor([1.0, 2.0]), lib.tensor([1, 2]), lib.tensor([1.0, 2.0], requires_grad=True)):
            for pair in ((ARRAYS[array], tensor), (tensor, ARRAYS[array])):
                try:
                    result = OPERATORS[name](*pair)
                    of = str(result.dtype).split(".")[-1]
                    found.append([type(result).__name__, of, repr(np.asarray(result).tolist())])
                except (TypeError, RuntimeError, ValueError) as error:
                    found.append(type(error).__name__)
        return found

    with np.errstate(all="ignore"):
        assert ask(facula) == oracle(ask, name, array)
