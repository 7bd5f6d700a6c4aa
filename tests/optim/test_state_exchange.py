"""State of optimizers and schedules: each parameter's is its own, and it goes on equally in either library."""

import io
import warnings

import numpy as np
import pytest

import facula
from test_optim import OPTIMIZERS, SCHEDULES, start


def optimizers():
    return pytest.mark.parametrize("name, options", OPTIMIZERS, ids=lambda v: str(v))


def stepping(library, x, y, w, b, optimizer):
    def closure():
        optimizer.zero_grad()
        loss = ((x @ w + b - y) ** 2).mean()
        loss.backward()
        return loss

    return lambda: optimizer.step(closure)


@optimizers()
def test_what_is_changed_in_the_state_of_one_parameter_changes_no_other(name, options):
    x, y, w, b = start(facula)
    optimizer = getattr(facula.optim, name)([w, b], **options)
    step = stepping(facula, x, y, w, b, optimizer)
    step()
    step()
    tensors = [(i, key, value) for i, entry in enumerate(optimizer.state.values()) for key, value in entry.items()
               if isinstance(value, facula.Tensor)]
    for i, key, changed in tensors:
        before = [(j, k, t, t.clone()) for j, k, t in tensors if t is not changed]
        changed.add_(1)
        for j, k, t, old in before:
            assert facula.equal(t, old), f"{key} of {i} and {k} of {j} share memory"
    pointers = [t.data_ptr() for _, _, t in tensors]
    assert len(set(pointers)) == len(pointers)


def test_a_step_written_by_somebody_is_counted_from():
    x, y, w, b = start(facula)
    optimizer = facula.optim.Adam([w, b])
    step = stepping(facula, x, y, w, b, optimizer)
    step()
    first, second = (entry["step"] for entry in optimizer.state.values())
    first.add_(100)
    array = second.numpy()
    step()
    assert (first.item(), second.item(), float(array)) == (102.0, 2.0, 2.0)  # the tensors stay, and are written
    array[()] = 50
    step()
    assert [entry["step"].item() for entry in optimizer.state.values()] == [103.0, 51.0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@optimizers()
def test_files_go_on_in_the_other_library(torch, name, options, dtype):
    tolerance = 2e-3 if name == "LBFGS" else 2e-5  # a line search magnifies the last bits

    def begun(library):
        x, y, w, b = start(library, dtype)
        optimizer = getattr(library.optim, name)([w, b], **options)
        return w, b, optimizer, stepping(library, x, y, w, b, optimizer)

    for here, there in ((facula, torch), (torch, facula)):
        w, b, optimizer, step = begun(here)
        for _ in range(3):
            step()
        file = io.BytesIO()
        here.save({"w": w.detach(), "b": b.detach(), "optimizer": optimizer.state_dict()}, file)
        file.seek(0)
        saved = there.load(file, weights_only=True)
        w2, b2, other, step2 = begun(there)
        with there.no_grad():
            w2.copy_(saved["w"])
            b2.copy_(saved["b"])
        other.load_state_dict(saved["optimizer"])
        for _ in range(3):
            step()
            step2()
        for ours, theirs in ((w, w2), (b, b2)):
            np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name, options", SCHEDULES, ids=lambda v: str(sorted(v)) if isinstance(v, dict) else v)
def test_states_of_schedules_are_torchs(oracle, name, options):
    def states(library):
        _, _, w, b = start(library)
        optimizer = library.optim.SGD([{"params": [w]}, {"params": [b], "lr": 0.3}], lr=0.2, momentum=0.9)
        schedule = getattr(library.optim.lr_scheduler, name)(optimizer, **options)
        found = []
        for _ in range(4):
            found.append({key: value for key, value in sorted(schedule.state_dict().items())
                          if not callable(value) and not (key == "lr_lambdas" or key.startswith("_scale_fn"))})
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                optimizer.step()
                schedule.step()
        return found

    for ours, theirs in zip(states(facula), oracle(states, options), strict=True):
        assert list(ours) == list(theirs)
        for key, value in theirs.items():
            if isinstance(value, (float, list)) and key != "_schedule_phases":
                np.testing.assert_allclose(ours[key], value, rtol=1e-12, err_msg=key)
            else:
                assert ours[key] == value, key


def test_states_of_schedules_of_schedules_are_torchs(oracle):
    def states(library):
        found = []
        s = library.optim.lr_scheduler
        for make in (
            lambda o: s.SequentialLR(o, [s.ConstantLR(o, 0.1, 2), s.ExponentialLR(o, 0.9)], [2]),
            lambda o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 4), s.ExponentialLR(o, 0.9)]),
            lambda o: s.ReduceLROnPlateau(o, patience=1),
        ):
            optimizer = library.optim.SGD([start(library)[2]], lr=1.0)
            schedule = make(optimizer)
            for _ in range(4):
                optimizer.step()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    schedule.step(*([1.0] if isinstance(schedule, s.ReduceLROnPlateau) else []))
            found.append({key: [dict(sorted(part.items())) for part in value] if key == "_schedulers" else value
                          for key, value in sorted(schedule.state_dict().items())})
        return found

    ours, theirs = states(facula), oracle(states)
    assert [list(state) for state in ours] == [list(state) for state in theirs]
    assert str(ours) == str(theirs)
