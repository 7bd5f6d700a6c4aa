"""Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict: the same moves here and in torch."""

from collections import OrderedDict

import pytest

import facula
from nn_oracle import error_of


def sequential(library):
    nn = library.nn
    net = nn.Sequential(nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.Identity())
    yield repr(net), len(net), repr(net[-1]), repr(net[1:3]), type(net[1:3]).__name__
    del net[0]
    yield repr(net)
    net[0] = nn.GELU()
    net.append(nn.ReLU6()).extend([nn.ELU()])
    net.insert(1, nn.SELU())
    yield repr(net), repr(net.pop(2)), repr(net), list(net._modules)
    yield repr(net + nn.Sequential(nn.ReLU())), repr(nn.Sequential(nn.ReLU()) * 3)
    net += nn.Sequential(nn.Tanh())
    net *= 2
    yield repr(net), [type(m).__name__ for m in net]
    del net[1:4]
    yield repr(net)
    named = nn.Sequential(OrderedDict(x=nn.ReLU(), y=nn.Tanh()))
    yield repr(named), repr(named.y), repr(named[1])
    for bad in (lambda: net[99], lambda: net + 3, lambda: net * 0, lambda: net * "a",
                lambda: net.insert(99, nn.ReLU()), lambda: net.append(3)):
        yield (error_of(bad) or ("none",))[0]


def module_list(library):
    nn = library.nn
    items = nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Linear(1, 1), nn.Linear(1, 1), nn.Tanh()])
    yield repr(items), len(items), repr(items[-1]), repr(items[1:3])
    items.append(nn.ELU()).extend([nn.SELU()])
    items.insert(1, nn.GELU())
    items += [nn.SiLU()]
    yield repr(items), repr(items.pop(0)), repr(items), list(items.state_dict())
    del items[1:3]
    items[0] = nn.Softplus()
    yield repr(items), repr(items + [nn.ReLU()]), repr(nn.ModuleList())
    for bad in (lambda: items[99], lambda: items.extend(3), lambda: items(1)):
        yield (error_of(bad) or ("none",))[0]


def module_dict(library):
    nn = library.nn
    items = nn.ModuleDict({"b": nn.ReLU(), "a": nn.Tanh()})
    items["c"] = nn.ELU()
    items.update([("d", nn.SELU()), ("a", nn.GELU())])
    yield repr(items), len(items), list(items), list(items.keys()), "a" in items, "z" in items
    yield repr(items.pop("b")), repr(items), [k for k, _ in items.items()], [repr(v) for v in items.values()]
    del items["c"]
    yield repr(items)
    for bad in (lambda: items.update(3), lambda: items.update([3]), lambda: items.update([(1, 2, 3)]),
                lambda: items["nothing"]):
        yield error_of(bad)[0]
    items.clear()
    yield repr(items)


def parameter_list(library):
    nn = library.nn
    items = nn.ParameterList([library.zeros(2), nn.Parameter(library.zeros(2, 3)), "text"])
    items.append(library.ones(1)).extend([library.zeros(3)])
    yield repr(items), len(items), list(items.state_dict()), [type(v).__name__ for v in items]
    items[1] = library.zeros(4)
    items += [library.zeros(5)]
    yield repr(items), repr(items[1:3]), repr(items[-1].shape)
    for bad in (lambda: items[99], lambda: items.extend(library.zeros(2)), lambda: items(1)):
        yield error_of(bad)


def parameter_dict(library):
    nn = library.nn
    items = nn.ParameterDict({"b": library.zeros(2), "a": nn.Parameter(library.zeros(2, 3))})
    yield repr(items), list(items), list(items.state_dict())
    items["c"] = library.ones(1)
    items.setdefault("d", library.ones(2))
    yield repr(items), len(items), "c" in items, list(reversed(items)), items.get("z"), repr(items.copy())
    items.pop("b")
    yield repr(items), items.popitem()[0], list(items.keys()), repr(items | nn.ParameterDict({"q": "text"}))
    for bad in (lambda: items.update(3), lambda: items[3], lambda: items(1)):
        yield (error_of(bad) or ("none",))[0]
    items.clear()
    yield len(items)


@pytest.mark.parametrize("moves", [sequential, module_list, module_dict, parameter_list, parameter_dict])
def test_same_moves_same_results(oracle, moves):
    expected = oracle(lambda torch: plain(list(moves(torch))))
    for step, (got, wanted) in enumerate(zip(plain(list(moves(facula))), expected, strict=True)):
        assert got == wanted, f"step {step}"


def plain(value):
    """Types by their names."""
    if isinstance(value, (list, tuple)):
        return type(value)(plain(part) for part in value)
    return value.__name__ if isinstance(value, type) else value
