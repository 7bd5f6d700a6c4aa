"""A mode that is entered and left: wherever an exception comes meanwhile, everything stands as before."""

import gc
import random

import pytest

import facula
from facula.engine.graph.node import PlacedNode, elsewhere
from facula.engine.session import session
from facula.overrides import DisableTorchFunction, DisableTorchFunctionSubclass, keep_listening
from facula.transforms.forward import Forward
from facula.transforms.levels import Level
from facula.undisturbed import PutBack
from interrupting import NEVER, Passing, Twice, at
from standing import standing

MODES = {
    "no_grad": facula.no_grad, "enable_grad": facula.enable_grad, "inference_mode": facula.inference_mode,
    "detect_anomaly": facula.autograd.detect_anomaly, "device": lambda: facula.device("meta"),
    "a function mode": Passing, "DisableTorchFunction": DisableTorchFunction, "keep_listening": keep_listening,
    "DisableTorchFunctionSubclass": DisableTorchFunctionSubclass, "dual_level": facula.autograd.forward_ad.dual_level,
    "level": Level, "forward": Forward, "profile": facula.profiler.profile, "fork_rng": facula.random.fork_rng,
}

pytestmark = pytest.mark.usefixtures("heap_of_its_own")


@pytest.mark.parametrize("name", MODES)
def test_a_mode_is_left_wherever_something_comes(name):
    def step():
        with MODES[name]():
            pass

    step()
    before = standing()
    k, came = 0, True
    while came:
        came, _, where = at(k, step)
        assert standing() == before, where
        k += 1
    assert session.plain is (not session.devices and session.traced is None)
    assert k < 2000


@pytest.mark.parametrize("way", ["function", "hook", "inputs", "create_graph"])
def test_a_backward_pass_is_left_wherever_something_comes(way):
    x = facula.ones(2, requires_grad=True)
    if way == "hook":
        x.register_hook(lambda g: g * 2)

    def step():
        y = (Twice.apply(x) if way == "function" else x * 3).sum()
        if way == "inputs":
            y.backward(inputs=[x])
        else:
            y.backward(create_graph=way == "create_graph")
        x.grad = None

    for _ in range(4):
        step()
    before, places = standing(), at(NEVER, step)[1]
    assert places > 30
    first = random.randrange(max(1, places // 60))
    for k in range(first, places, max(1, places // 60)):
        came, _, where = at(k, step)
        assert standing() == before, where
    for k in range(90):  # where functions begin that come before the walk
        came, _, where = at(k, step)
        assert standing() == before, where


def test_a_value_elsewhere_that_never_came_to_be_is_not_counted():
    def counted():
        return sum(isinstance(one, PlacedNode) for one in gc.get_objects())

    before = len(elsewhere) - counted()  # of other tests
    kept = facula.empty(2, device="meta")
    k, came = 0, True
    while came:
        came, _, where = at(k, lambda: facula.empty(3, device="meta"))
        gc.collect()
        assert len(elsewhere) - before == counted() > 0, where
        k += 1
    assert k > 3 and kept.is_meta


def test_a_module_called_with_other_parameters_has_its_own_again():
    net = facula.nn.Linear(2, 2)
    own = dict(net.named_parameters())
    other = {name: p.detach() * 2 for name, p in own.items()}
    x = facula.ones(1, 2)
    k, came = 0, True
    while came:
        came, _, where = at(k, lambda: facula.func.functional_call(net, other, (x,)))
        assert all(p is own[name] for name, p in net.named_parameters()), where
        k += 1
    assert k > 30


def test_what_is_put_back_is_put_back_though_something_comes_while_it_is():
    class Switch(PutBack):
        on, calls = False, 0

        def change(self):
            self.on = True

        def put_back(self):
            self.calls += 1
            if self.calls == 1:
                raise KeyboardInterrupt
            self.on = False

    switch = Switch()
    with pytest.raises(KeyboardInterrupt), switch:
        assert switch.on
    assert not switch.on and switch.calls == 2
