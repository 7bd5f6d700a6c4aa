"""Optimizers and schedules: the same small fit here and in torch, step by step."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import facula
from facula import optim
from nn_oracle import assert_same, error_of, to_library

OPTIMIZERS = [
    ("SGD", {"lr": 0.1}), ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True}),
    ("Adam", {}), ("Adam", {"lr": 0.1, "betas": (0.8, 0.95), "weight_decay": 0.1, "amsgrad": True}),
    ("Adam", {"maximize": True, "decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.02}), ("RMSprop", {}), ("RMSprop", {"centered": True, "momentum": 0.5}),
    ("Adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.3}), ("Adadelta", {"weight_decay": 0.1}),
    ("Adamax", {}), ("NAdam", {"weight_decay": 0.1}), ("NAdam", {"decoupled_weight_decay": True,
                                                                 "weight_decay": 0.1}),
    ("RAdam", {"betas": (0.5, 0.6)}), ("Rprop", {}), ("ASGD", {"t0": 2.0, "lambd": 0.1}),
    ("LBFGS", {"max_iter": 3}), ("LBFGS", {"max_iter": 3, "line_search_fn": "strong_wolfe"}),
    ("Adafactor", {}),
]
SCHEDULES = [
    ("StepLR", {"step_size": 2}), ("MultiStepLR", {"milestones": [1, 3, 3]}),
    ("ConstantLR", {"total_iters": 2}), ("LinearLR", {"total_iters": 3}), ("ExponentialLR", {"gamma": 0.5}),
    ("PolynomialLR", {"power": 2.0}), ("CosineAnnealingLR", {"T_max": 3, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 2, "T_mult": 2}),
    ("LambdaLR", {"lr_lambda": lambda epoch: 1 / (1 + epoch)}),
    ("MultiplicativeLR", {"lr_lambda": lambda e: 0.9}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 2, "mode": "triangular2"}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3, "mode": "exp_range", "gamma": 0.9}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 12}),
    ("OneCycleLR", {"max_lr": 1.0, "epochs": 3, "steps_per_epoch": 4, "three_phase": True,
                    "anneal_strategy": "linear"}),
]


def start(library, dtype="float32"):
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in ((8, 4), (8, 3), (4, 3), (3,))]
    x, y, w, b = (to_library(library, a) for a in arrays)
    return x, y, w.requires_grad_(True), b.requires_grad_(True)


def fit(library, name, kwargs, steps=5, reload=False):
    x, y, w, b = start(library)
    optimizer = getattr(library.optim, name)([w, b], **kwargs)
    trail = []

    def closure():
        optimizer.zero_grad()
        loss = ((x @ w + b - y) ** 2).mean()
        loss.backward()
        return loss

    for step in range(steps):
        if reload and step == 2:
            saved = copy.deepcopy(optimizer.state_dict())
            optimizer = getattr(library.optim, name)([w, b], **kwargs)
            optimizer.load_state_dict(saved)
        trail.append(optimizer.step(closure) if name == "LBFGS" else closure())
        if name != "LBFGS":
            optimizer.step()
        trail += [w.detach().clone(), b.detach().clone()]
    return trail, optimizer


def outline(value):
    """Without the numbers: those of a line search's last, tiny steps are another processor's own."""
    if isinstance(value, dict):
        return {key: part if key in ("param_groups", "step", "func_evals", "n_iter") else outline(part)
                for key, part in value.items()}
    if isinstance(value, list):
        return [outline(part) for part in value]
    return type(value)(0) if isinstance(value, float) else value * 0 if hasattr(value, "new_zeros") else value


# LBFGS keeps its state under the first parameter: reloaded it goes the same path.
STEPS = [pytest.param(name, kwargs, reload, id=f"{name}-{kwargs}-{'reloaded' if reload else 'straight'}")
         for reload in (False, True) for name, kwargs in OPTIMIZERS if not (name == "LBFGS" and reload)]


@pytest.mark.parametrize("name, kwargs, reload", STEPS)
def test_steps(oracle, name, kwargs, reload):
    def answer(library):
        trail, optimizer = fit(library, name, kwargs, reload=reload)
        state = optimizer.state_dict()
        return trail, repr(optimizer), outline(state) if name == "LBFGS" else state

    (got, shown, a), (expected, wanted, b) = oracle.both(answer, kwargs)
    tolerance = 1e-3 if name == "LBFGS" else 2e-5  # a line search magnifies the last bits
    assert_same(got, expected, rtol=tolerance, atol=tolerance)
    assert shown == wanted
    assert a["param_groups"] == b["param_groups"]
    assert {i: list(e) for i, e in a["state"].items()} == {i: list(e) for i, e in b["state"].items()}
    for index, entry in b["state"].items():
        for key, value in entry.items():
            if isinstance(value, tuple):  # a tensor
                own = a["state"][index][key]
                assert own[1].shape == value[1].shape and own[0] == value[0], key
                if name != "LBFGS":
                    assert_same(own, value, rtol=2e-5)


def test_step_is_a_tensor_that_can_be_changed():
    _, optimizer = fit(facula, "Adam", {}, steps=3)
    steps = [state["step"] for state in optimizer.state.values()]
    assert [float(step) for step in steps] == [3.0, 3.0]
    first = next(iter(optimizer.state.values()))
    first["step"] = facula.tensor(10.0)
    optimizer.step()
    assert [float(state["step"]) for state in optimizer.state.values()] == [11.0, 4.0]


def test_groups_names_and_new_groups():
    a, b, c = (facula.nn.Parameter(facula.ones(1)) for _ in range(3))
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.1)
    optimizer.add_param_group({"params": [c], "lr": 1.0})
    for p in (a, b, c):
        p.grad = facula.ones(1)
    optimizer.step()
    assert [round(p.item(), 6) for p in (a, b, c)] == [0.9, 0.5, 0.0]
    named = optim.Adam([("first", a), ("second", b)])
    assert named.state_dict()["param_groups"][0]["param_names"] == ["first", "second"]


def test_complaints(oracle):
    def calls(library):
        p = library.zeros(2, requires_grad=True)
        optim = library.optim
        grown = optim.SGD([p], lr=0.1)
        two = optim.SGD([{"params": [p]}, {"params": [library.zeros(1)]}], lr=0.1)
        return {
            "tensor": lambda: optim.SGD(p, lr=0.1), "empty": lambda: optim.SGD([], lr=0.1),
            "rate": lambda: optim.SGD([p], lr=-1.0), "momentum": lambda: optim.SGD([p], momentum=-1.0),
            "nesterov": lambda: optim.SGD([p], nesterov=True), "not a tensor": lambda: optim.SGD([3]),
            "computed": lambda: optim.SGD([p * 2]), "set": lambda: optim.SGD([{"params": {p}}]),
            "group": lambda: grown.add_param_group([p]),
            "again": lambda: grown.add_param_group({"params": [p]}),
            "some names": lambda: optim.SGD([("a", p), library.zeros(1)]),
            "betas": lambda: optim.Adam([p], betas=(1.0, 0.9)), "eps": lambda: optim.Adam([p], eps=-1.0),
            "decay": lambda: optim.Adam([p], weight_decay=-1.0),
            "alpha": lambda: optim.RMSprop([p], alpha=-1.0), "rho": lambda: optim.Adadelta([p], rho=2.0),
            "etas": lambda: optim.Rprop([p], etas=(2.0, 0.5)),
            "lbfgs groups": lambda: optim.LBFGS([{"params": [p]}, {"params": [library.zeros(1)]}]),
            "groups to load": lambda: grown.load_state_dict(two.state_dict()),
            "no optimizer": lambda: optim.lr_scheduler.StepLR(p, 1),
            "resume": lambda: optim.lr_scheduler.StepLR(two, 1, last_epoch=3),
            "lambdas": lambda: optim.lr_scheduler.LambdaLR(two, [lambda e: 1.0]),
            "plateau mode": lambda: optim.lr_scheduler.ReduceLROnPlateau(two, mode="best"),
            "plateau factor": lambda: optim.lr_scheduler.ReduceLROnPlateau(two, factor=2.0),
            "one cycle": lambda: optim.lr_scheduler.OneCycleLR(two, 1.0),
            "constant": lambda: optim.lr_scheduler.ConstantLR(two, factor=2.0),
        }
    ours, theirs = calls(facula), oracle(lambda torch: {name: error_of(f) for name, f in calls(torch).items()})
    for name, expected in theirs.items():
        got = error_of(ours[name])
        assert expected is not None, name
        assert got[0] == expected[0], name
        assert got[1][:70] == expected[1][:70], name


def test_hooks_and_closure_result():
    p = facula.nn.Parameter(facula.ones(1))
    optimizer, seen = optim.SGD([p], lr=0.1), []
    optimizer.register_step_pre_hook(lambda o, args, kwargs: seen.append("before"))
    handle = optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append("after"))
    optimizer.register_state_dict_post_hook(lambda o, state: {**state, "more": 1})
    p.grad = facula.ones(1)
    assert optimizer.step(lambda: 3.5) == 3.5
    handle.remove()
    optimizer.step()
    assert seen == ["before", "after", "before"] and optimizer.state_dict()["more"] == 1


def test_gradients_set_to_none_or_zero():
    p = facula.nn.Parameter(facula.ones(1))
    optimizer = optim.SGD([p], lr=0.1)
    p.grad = facula.ones(1)
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.item() == 0.0
    optimizer.zero_grad()
    assert p.grad is None
    optimizer.step()
    assert p.item() == 1.0 and len(optimizer.state) == 0


def test_an_optimizer_of_the_users_own():
    class Mine(optim.Optimizer):
        def __init__(self, params, lr=0.1):
            super().__init__(params, {"lr": lr})

        @facula.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p -= group["lr"] * p.grad

    p = facula.nn.Parameter(facula.ones(1))
    optimizer, seen = Mine([p]), []
    optimizer.register_step_post_hook(lambda *_: seen.append(1))
    p.grad = facula.ones(1)
    optimizer.step()
    assert abs(p.item() - 0.9) < 1e-6 and seen == [1]


def test_copies_and_pickles():
    _, optimizer = fit(facula, "Adam", {}, steps=2)
    for other in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert repr(other) == repr(optimizer)
        assert [list(e) for e in other.state.values()] == [list(e) for e in optimizer.state.values()]


@pytest.mark.parametrize("name, kwargs", SCHEDULES, ids=lambda v: str(sorted(v)) if isinstance(v, dict)
                         else v)
def test_schedules(oracle, name, kwargs):
    def trail_of(library):
        _, _, w, b = start(library)
        optimizer = library.optim.SGD([{"params": [w]}, {"params": [b], "lr": 0.3}], lr=0.2, momentum=0.9)
        schedule = getattr(library.optim.lr_scheduler, name)(optimizer, **kwargs)
        trail = [schedule.get_last_lr()]
        for step in range(10):
            optimizer.step()
            schedule.step()
            trail.append([*schedule.get_last_lr(), *(g["momentum"] for g in optimizer.param_groups)])
            if step == 5:
                saved = copy.deepcopy(schedule.state_dict())
                schedule = getattr(library.optim.lr_scheduler, name)(optimizer, **kwargs)
                schedule.load_state_dict(saved)
        return trail

    for got, expected in zip(trail_of(facula), oracle(trail_of, kwargs), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_schedules_of_schedules(oracle):
    def rates_of(library):
        _, _, w, _ = start(library)
        s = library.optim.lr_scheduler
        rates = []
        for make in (
            lambda o, s=s: s.SequentialLR(o, [s.ConstantLR(o, 0.1, 2), s.ExponentialLR(o, 0.9)], [2]),
            lambda o, s=s: s.ChainedScheduler([s.ConstantLR(o, 0.1, 4), s.ExponentialLR(o, 0.9)]),
            lambda o, s=s: s.SequentialLR(o, [s.LinearLR(o), s.CosineAnnealingLR(o, 4)], [3]),
        ):
            optimizer = library.optim.SGD([w], lr=1.0)
            schedule = make(optimizer)
            for _ in range(8):
                rates.append(schedule.get_last_lr()[0])
                optimizer.step()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    schedule.step()
        return rates

    np.testing.assert_allclose(rates_of(facula), oracle(rates_of), rtol=1e-6)


def test_plateau(oracle):
    def rates_of(library):
        rates = []
        for options in ({"patience": 1},
                        {"mode": "max", "threshold_mode": "abs", "patience": 0, "cooldown": 1}):
            _, _, w, _ = start(library)
            optimizer = library.optim.SGD([w], lr=1.0)
            schedule = library.optim.lr_scheduler.ReduceLROnPlateau(optimizer, min_lr=0.005, **options)
            for metric in (1.0, 0.9, 0.95, 0.95, 0.95, 0.94, 0.93, 0.93, 0.93):
                schedule.step(metric)
                rates.append(schedule.get_last_lr()[0])
        return rates

    assert rates_of(facula) == oracle(rates_of)


def test_wrong_order_warns():
    _, _, w, _ = start(facula)
    schedule = optim.lr_scheduler.StepLR(optim.SGD([w], lr=1.0), 1)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        schedule.step()


RESUMED = [s for s in SCHEDULES if s[0] not in ("CyclicLR", "OneCycleLR")]


@pytest.mark.parametrize(("name", "options"), RESUMED, ids=[name for name, _ in RESUMED])
@pytest.mark.parametrize("last", [0, 2, 5])
def test_resumed_schedules_go_on_from_the_rates_of_the_optimizer(oracle, name, options, last):
    def rates_of(library):
        _, _, w, _ = start(library)
        optimizer = library.optim.SGD([{"params": [w], "initial_lr": 1.0}], lr=0.3)
        schedule = getattr(library.optim.lr_scheduler, name)(optimizer, last_epoch=last, **options)
        rates = []
        for _ in range(6):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return rates

    np.testing.assert_allclose(rates_of(facula), oracle(rates_of, options), rtol=1e-12)


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_double_precision_is_kept(oracle, name, options):
    def found(library):
        x, y, w, b = start(library, "float64")
        optimizer = getattr(library.optim, name)([w, b], **options)

        def closure(x=x, y=y, w=w, b=b, optimizer=optimizer):
            optimizer.zero_grad()
            loss = ((x @ w + b - y) ** 2).mean()
            loss.backward()
            return loss

        for _ in range(6):
            optimizer.step(closure)
        return w.detach().numpy().copy(), b.detach().numpy().copy()

    for ours, theirs in zip(found(facula), oracle(found, name, options), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)
