"""`nn.Module` itself: registration, traversal, hooks, state, printing; against torch where it can tell."""

import copy
import gc
import pickle
import sys
import warnings
import weakref
from collections import OrderedDict

import pytest

import facula
from facula import nn
from nn_oracle import error_of


def tree(nn):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(2, 3)
            self.act = nn.ReLU()
            self.register_buffer("scale", self.first.weight.detach().clone())
            self.register_buffer("hidden", self.first.bias.detach().clone(), persistent=False)
            self.missing = None

        def forward(self, x, factor=1):
            return self.act(self.first(x)) * factor

    net = nn.Sequential(OrderedDict(a=Block(), b=nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.3))))
    net.tied = net.a.first
    return net


def names_and_order(nn):
    net = tree(nn)
    return {
        "state": list(net.state_dict()),
        "parameters": [n for n, _ in net.named_parameters()],
        "with those that are tied": [n for n, _ in net.named_parameters("top", remove_duplicate=False)],
        "buffers": [n for n, _ in net.named_buffers()],
        "modules": [n for n, _ in net.named_modules()],
        "modules, also twice": [n for n, _ in net.named_modules(remove_duplicate=False)],
        "children": [n for n, _ in net.named_children()],
        "repr": repr(net),
        "metadata": {key: dict(value) for key, value in net.state_dict()._metadata.items()},
    }


def test_names_and_order(oracle):
    assert names_and_order(nn) == oracle(lambda torch: names_and_order(torch.nn))
    ours = tree(nn)
    assert len(list(ours.parameters())) == 4
    assert [n for n in dir(ours) if n in ("a", "b", "tied")] == ["a", "b", "tied"]


def complaints(library):
    """Bad uses of a module, each of which must raise the same error with the same text."""
    nn, net = library.nn, library.nn.Linear(2, 2)
    class Early(nn.Module):
        def __init__(self, value):
            self.value = value
    return {
        "parameter is no parameter": lambda: setattr(net, "weight", 3),
        "module is no module": lambda: setattr(nn.Sequential(nn.ReLU()), "0", 3),
        "no such attribute": lambda: net.nothing,
        "no such attribute to delete": lambda: delattr(net, "nothing"),
        "parameter before init": lambda: Early(nn.Parameter(library.zeros(1))),
        "module before init": lambda: Early(nn.ReLU()),
        "dotted buffer": lambda: net.register_buffer("a.b", None),
        "empty buffer": lambda: net.register_buffer("", None),
        "taken buffer": lambda: net.register_buffer("weight", None),
        "buffer is no tensor": lambda: net.register_buffer("new", 3),
        "dotted parameter": lambda: net.register_parameter("a.b", None),
        "parameter name is no string": lambda: net.register_parameter(3, None),
        "taken parameter": lambda: net.register_parameter("forward", None),
        "computed parameter": lambda: net.register_parameter("new", net.weight * 2),
        "dotted module": lambda: net.add_module("a.b", None),
        "no module": lambda: net.add_module("a", 3),
        "arguments": lambda: nn.Module(1),
        "keywords": lambda: nn.Module(a=1),
        "no forward": lambda: nn.Module()(1),
        "get_submodule": lambda: net.get_submodule("x"),
        "get_submodule of a parameter": lambda: net.get_submodule("weight"),
        "get_parameter": lambda: net.get_parameter("x"),
        "get_parameter of an int": lambda: net.get_parameter("in_features"),
        "get_buffer": lambda: net.get_buffer("weight"),
        "integer type": lambda: net.to(library.int64),
        "train": lambda: net.train(1),
        "state is no dictionary": lambda: net.load_state_dict([]),
        "missing and unexpected": lambda: net.load_state_dict({"weight": library.zeros(2, 2), "x": 1,
                                                               "y": 2}),
        "shape": lambda: net.load_state_dict({"weight": library.zeros(2, 3), "bias": library.zeros(2)}),
        "value": lambda: net.load_state_dict({"weight": 3, "bias": library.zeros(2)}),
        "unexpected child": lambda: nn.Sequential(net).load_state_dict({**nn.Sequential(net).state_dict(),
                                                                        "1.weight": library.zeros(1)}),
    }


def test_complaints(oracle):
    ours = complaints(facula)
    theirs = oracle(lambda torch: {name: error_of(bad) for name, bad in complaints(torch).items()})
    for name, expected in theirs.items():
        got = error_of(ours[name])
        assert expected is not None, name
        assert got is not None, name
        assert got[0] == expected[0], (name, got, expected)
        if name == "no such attribute to delete" and sys.version_info < (3, 11):
            continue  # Python's own words, which were fewer then
        assert got[1].replace("facula.", "torch.") == expected[1], name


def test_assignment_moves_between_tables():
    net = nn.Module()
    net.x = 3
    net.x = nn.Parameter(facula.zeros(1))
    assert "x" in net._parameters and "x" not in net.__dict__
    net.x = None
    assert net.x is None and list(net.state_dict()) == []
    del net.x
    net.x = nn.ReLU()
    assert list(net._modules) == ["x"]
    net.b = nn.Buffer(facula.zeros(1), persistent=False)
    assert list(net._buffers) == ["b"] and list(net.state_dict()) == []
    assert isinstance(net.b, nn.Buffer) and not isinstance(facula.zeros(1), nn.Buffer)
    net.b = facula.ones(1)
    assert net.b.item() == 1.0
    net.plain = facula.ones(1)
    assert "plain" in net.__dict__


def test_load_returns_what_did_not_fit():
    net = nn.Linear(2, 2)
    result = net.load_state_dict({"weight": facula.ones(2, 2), "other": facula.ones(1)}, strict=False)
    assert result.missing_keys == ["bias"] and result.unexpected_keys == ["other"]
    assert net.weight.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert repr(net.load_state_dict(nn.Linear(2, 2).state_dict())) == "<All keys matched successfully>"


def test_assign_takes_the_tensors():
    net = nn.Linear(2, 2)
    value = facula.ones(2, 2, dtype=facula.float64)
    net.load_state_dict({"weight": value, "bias": facula.ones(2)}, assign=True)
    assert net.weight.dtype is facula.float64 and isinstance(net.weight, nn.Parameter)


def test_state_hooks():
    net, seen = nn.Sequential(nn.Linear(1, 1)), []
    net.register_state_dict_pre_hook(lambda module, prefix, keep: seen.append("before"))
    net.register_state_dict_post_hook(lambda module, state, prefix, metadata: state.update(extra=1))
    handle = net[0].register_load_state_dict_pre_hook(
        lambda module, state, prefix, *rest: seen.append((type(module).__name__, prefix)))
    net.register_load_state_dict_post_hook(lambda module, keys: keys.unexpected_keys.clear())
    state = net.state_dict()
    assert list(state) == ["0.weight", "0.bias", "extra"]
    net.load_state_dict(state)
    assert seen == ["before", ("Linear", "0.")]
    handle.remove()
    net.load_state_dict(state)
    assert len(seen) == 2


def test_extra_state():
    class WithExtra(nn.Module):
        value = 0

        def get_extra_state(self):
            return {"value": self.value}

        def set_extra_state(self, state):
            self.value = state["value"]

    a, b = nn.Sequential(WithExtra()), nn.Sequential(WithExtra())
    a[0].value = 7
    assert list(a.state_dict()) == ["0._extra_state"]
    b.load_state_dict(a.state_dict())
    assert b[0].value == 7
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"0\._extra_state\""):
        b.load_state_dict({})


def hook_trace(library):
    """What all sorts of hooks see, as text."""
    nn, trace = library.nn, []

    class Net(nn.Module):
        def forward(self, x, *, times=1):
            trace.append(f"forward {times}")
            return x * times

    net, x = Net(), library.ones(2, requires_grad=True)
    net.register_forward_pre_hook(lambda m, args: trace.append(f"pre {len(args)}"))
    net.register_forward_pre_hook(lambda m, args, kwargs: (args, {"times": 3}), with_kwargs=True)
    net.register_forward_hook(lambda m, args, out: out + 1)
    net.register_forward_hook(lambda m, args, kwargs, out: trace.append(f"post {kwargs} {out.tolist()}"),
                              with_kwargs=True)
    net.register_forward_hook(lambda m, args, out: trace.append(f"first {out.tolist()}"), prepend=True)
    net.register_full_backward_pre_hook(lambda m, grad: trace.append(f"grad out {grad[0].tolist()}"))
    net.register_full_backward_hook(
        lambda m, grad_in, grad_out: (trace.append(f"grads {grad_in[0].tolist()} {grad_out[0].tolist()}"),
                                      (grad_in[0] * 10,))[1])
    net(x, times=2).sum().backward()
    trace.append(f"gradient {x.grad.tolist()}")
    return trace


def test_hooks_see_what_torch_shows(oracle):
    assert hook_trace(facula) == oracle(hook_trace)


def test_backward_hook_without_input_gradient():
    seen, layer = [], nn.Linear(2, 1)
    layer.register_full_backward_hook(lambda m, grad_in,
                                      grad_out: seen.append((grad_in, grad_out[0].tolist())))
    layer(facula.ones(1, 2)).sum().backward()
    assert seen == [((None,), [[1.0]])]


def test_always_called_hooks():
    class Fails(nn.Module):
        def forward(self, x):
            raise ValueError("no")
    net, seen = Fails(), []
    net.register_forward_hook(lambda m, args, out: seen.append(out), always_call=True)
    net.register_forward_hook(lambda m, args, out: seen.append("not called"))
    with pytest.raises(ValueError, match="no"):
        net(1)
    assert seen == [None]


def test_global_hooks():
    from facula.nn.modules import module
    seen = []
    handles = [module.register_module_forward_pre_hook(lambda m, args: seen.append("pre")),
               module.register_module_forward_hook(lambda m, args, out: seen.append("post")),
               module.register_module_module_registration_hook(lambda m, name, sub: seen.append(name))]
    try:
        nn.Sequential(nn.Identity())(1)
    finally:
        for handle in handles:
            handle.remove()
    nn.Identity()(1)
    assert seen == ["0", "pre", "pre", "post", "post"]


def test_conversion_keeps_the_parameter_objects():
    net = nn.Linear(2, 2)
    weight = net.weight
    net.register_buffer("count", facula.zeros(1, dtype=facula.int64))
    net.double()
    assert net.weight is weight and weight.dtype is facula.float64 and net.count.dtype is facula.int64
    assert net.to(facula.float32).bias.dtype is facula.float32
    assert net.half().weight.dtype is facula.float16
    assert net.to("cpu") is net


def test_train_eval_apply_zero_grad():
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Linear(2, 2)))
    assert not net.eval()[1][0].training and net.train()[0].training
    order = []
    net.apply(lambda m: order.append(type(m).__name__))
    assert order == ["Dropout", "Linear", "Sequential", "Sequential"]
    net[1](facula.ones(1, 2)).sum().backward()
    net.zero_grad(set_to_none=False)
    assert net[1][0].weight.grad.abs().sum().item() == 0.0
    net.zero_grad()
    assert net[1][0].weight.grad is None
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))],
                         ids=["deepcopy", "pickle"])
def test_copies_are_independent_and_stay_tied(clone):
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    net.tied = net[0].weight
    other = clone(net)
    assert other.tied is other[0].weight and other.tied is not net.tied
    assert isinstance(other.tied, nn.Parameter) and other.tied.requires_grad
    with facula.no_grad():
        other.tied.zero_()
    assert net.tied.abs().sum().item() > 0
    assert repr(other) == repr(net) and list(other.state_dict()) == list(net.state_dict())


def test_parameter():
    data = facula.zeros(2)
    p = nn.Parameter(data)
    assert isinstance(p, facula.Tensor) and p.requires_grad and p.is_leaf
    assert repr(p) == "Parameter containing:\ntensor([0., 0.], requires_grad=True)"
    data[0] = 5.0
    assert p.tolist() == [5.0, 0.0]  # shared memory
    with facula.no_grad():
        assert nn.Parameter(data).requires_grad
    assert type(p * 2) is facula.Tensor
    with pytest.raises(RuntimeError, match="floating point and complex"):
        nn.Parameter(facula.zeros(2, dtype=facula.int64))
    assert not nn.Parameter(facula.zeros(2, dtype=facula.int64), requires_grad=False).requires_grad


def test_modules_are_freed_without_the_collector():
    gc.disable()
    try:
        net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        alive = weakref.ref(net)
        net(facula.ones(1, 2))
        del net
        assert alive() is None
    finally:
        gc.enable()


def test_old_spelling_of_state_dict_warns():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert list(nn.Linear(1, 1).state_dict(OrderedDict(), "p.")) == ["p.weight", "p.bias"]
    assert "Positional args are being deprecated" in str(caught[0].message)


def test_lazy_modules():
    net = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
    assert net[0].has_uninitialized_params()
    with pytest.raises(RuntimeError, match="uninitialized parameter"):
        net[0].weight.shape  # noqa: B018
    net(facula.ones(2, 5))
    assert repr(net[0]) == "Linear(in_features=5, out_features=3, bias=True)"
    assert type(net[1]) is nn.BatchNorm1d and type(net[0].weight) is nn.Parameter
