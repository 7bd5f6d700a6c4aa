"""GradScaler on the cpu: the same scales, steps, states and complaints as PyTorch's."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import facula
from nn_oracle import error_of

GRADIENTS = (1.0, 2.0, float("inf"), 1.0, float("nan"), 1.0, 2.0, 3.0)


def begun(library, optimizer="SGD", dtype="float32", **options):
    p = library.nn.Parameter(library.ones(2, dtype=getattr(library, dtype)))
    made = getattr(library.optim, optimizer)([p], lr=0.1, **options)
    return p, made, library.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("optimizer, options", [("SGD", {}), ("SGD", {"momentum": 0.9}), ("AdamW", {}),
                                                ("RMSprop", {}), ("Adagrad", {})], ids=str)
def test_steps_scales_and_states(oracle, optimizer, options, dtype):
    def trail(library):
        p, o, scaler = begun(library, optimizer, dtype, **options)
        found = []
        for value in GRADIENTS:
            o.zero_grad()
            scaler.scale((p * value).sum()).backward()
            scaler.step(o)
            scaler.update()
            found.append((p.detach().double().numpy().copy(), scaler.get_scale(), scaler.state_dict()))
            scaler = pickle.loads(pickle.dumps(scaler)) if len(found) == 3 else copy.deepcopy(scaler)
        return found

    tolerance = 1e-2 if dtype == "bfloat16" else 1e-6
    for (ours, *rest), (theirs, *wanted) in zip(trail(facula), oracle(trail, optimizer, options, dtype), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)
        assert rest == wanted


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "Adagrad"])
def test_fused_steps_are_left_out_too(optimizer):
    p, o, scaler = begun(facula, optimizer, fused=True)
    scaler.scale((p * float("inf")).sum()).backward()
    scaler.step(o)
    scaler.update()
    assert p.tolist() == [1.0, 1.0] and scaler.get_scale() == 4.0


def complaints(library):
    def case(*calls):
        def run():
            p, o, scaler = begun(library)
            s = {"scale": lambda: scaler.scale(p.sum()).backward(), "step": lambda: scaler.step(o),
                 "unscale": lambda: scaler.unscale_(o), "update": scaler.update,
                 "pickle": lambda: pickle.dumps(scaler),
                 "only_scale": lambda: scaler.scale(p.sum()), "backward": lambda: p.sum().backward(),
                 "closure": lambda: scaler.step(o, closure=lambda: 1), "number": lambda: scaler.scale(3),
                 "two": lambda: scaler.update(library.tensor([1.0, 2.0])),
                 "load": lambda: scaler.load_state_dict({})}
            for call in calls:
                s[call]()
        return run

    def half():
        p, o, scaler = begun(library, dtype="float16")
        scaler.scale(p.sum()).backward()
        scaler.step(o)

    G = library.amp.GradScaler
    cases = [("scale", "step", "step"), ("scale", "unscale", "unscale"), ("scale", "step", "unscale"),
             ("only_scale", "step"), ("backward", "step"), ("only_scale", "update"), ("update",), ("scale", "closure"),
             ("number",), ("scale", "step", "pickle"), ("only_scale", "two"), ("load",)]
    return {**{str(c): case(*c) for c in cases}, "half": half, "growth": lambda: G("cpu", growth_factor=1.0),
            "backoff": lambda: G("cpu", backoff_factor=1.0)}


def test_complaints(oracle):
    theirs = oracle(lambda torch: {name: error_of(call) for name, call in complaints(torch).items()})
    for name, call in complaints(facula).items():
        assert error_of(call) == theirs[name] and theirs[name] is not None, name


def test_unscaled_gradients_are_clipped(oracle):
    def found(library):
        p, o, scaler = begun(library)
        scaler.scale((p * library.tensor([3.0, 4.0])).sum()).backward()
        scaler.unscale_(o)
        norm = library.nn.utils.clip_grad_norm_([p], 1.0)
        scaler.step(o)
        scaler.update(4.0)
        return norm.item(), p.tolist(), scaler.get_scale()

    assert str(found(facula)) == str(oracle(found))


def test_losses_in_lists_and_a_scaler_that_is_off(oracle):
    def found(library):
        p, _, scaler = begun(library)
        scaled = scaler.scale([p.sum(), (p.sum(), p * 2)])
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            off = [library.amp.GradScaler(), library.cuda.amp.GradScaler(), library.cpu.amp.GradScaler(enabled=False)]
        return (str(scaled), [s.is_enabled() for s in off], [s.get_scale() for s in off], [s.state_dict() for s in off],
                [(w.category.__name__, str(w.message)) for w in seen], off[0].scale(3))

    assert str(found(facula)) == str(oracle(found))


def test_an_optimizer_that_takes_the_scale_out_itself():
    class Mine(facula.optim.SGD):
        _step_supports_amp_scaling = True

        def step(self, closure=None):
            return self.grad_scale.item(), self.found_inf.item()

    class Asks(Mine):
        def step(self, closure=None, *, grad_scaler=None):
            return grad_scaler.get_scale()

    for cls, wanted in ((Mine, (8.0, 1.0)), (Asks, 8.0)):
        p = facula.nn.Parameter(facula.ones(2))
        o, scaler = cls([p], lr=0.1), facula.amp.GradScaler("cpu", init_scale=8.0)
        scaler.scale((p * float("inf")).sum()).backward()
        assert scaler.step(o) == wanted
        assert not hasattr(o, "grad_scale") and p.grad.tolist() == [float("inf")] * 2
