"""Inference tensors: which they are, and what is refused of them, as torch has it."""

import copy
import io
import pickle
import threading

import pytest

import facula

# `y` is an inference tensor, `x` an ordinary one, `w` one that requires grad.
CALLS = """y.is_inference()
(y * 2).is_inference()
y.clone().is_inference()
y.view(4).is_inference()
y.t().is_inference()
y[0].is_inference()
y.detach().is_inference()
y.data.is_inference()
y.reshape(4).is_inference()
y.contiguous().is_inference()
y.to(t.float64).is_inference()
x.is_inference()
copy.deepcopy(y).is_inference()
copy.copy(y).is_inference()
t.load(saved(y)).is_inference()
t.load(saved(y)).tolist()
pickle.loads(pickle.dumps(y)).tolist()
y._version
y.add_(1)
y.view(4).mul_(2)
y[0].zero_()
y.__setitem__(0, 1.0)
y.copy_(x)
y.fill_(3.0)
y.uniform_(2, 2)
y.zero_()
y.relu_()
y.requires_grad_()
y.requires_grad_(False).requires_grad
(w * y).requires_grad
(y * w).sum().backward()
(w + y).requires_grad
(w / y).requires_grad
(w @ y).requires_grad
(y @ w).requires_grad
t.nn.functional.linear(w, y).requires_grad
t.nn.functional.embedding(t.tensor([0, 1]), w).requires_grad
t.nn.functional.linear(y, w).requires_grad
t.addmm(w, y, y).requires_grad
t.where(y > 0, w, y).requires_grad
t.cat([w, y]).requires_grad
t.stack([w, y.clone()]).sum().backward()
(w * y.clone()).sum().backward()
x.add_(y).tolist()
t.add(x, 1, out=y)
y.is_leaf, y.requires_grad, y.grad_fn
t.is_inference(y), t.is_inference_mode_enabled()
t.nn.Parameter(y).is_inference()
inside(lambda: (y.add_(1).tolist(), y._version))
inside(lambda: (x.add_(1).is_inference(), x.tolist()))
inside(lambda: x.view(4).is_inference())
inside(lambda: x[0].is_inference())
inside(lambda: x.detach().is_inference())
inside(lambda: x.t().contiguous().is_inference())
inside(lambda: x.reshape(4).is_inference())
inside(lambda: t.ones(2).is_inference())
inside(lambda: t.tensor([1.0]).is_inference())
inside(lambda: t.empty(2).is_inference())
inside(lambda: t.arange(3).is_inference())
inside(lambda: (x.sum().is_inference(), x.max(0)[0].is_inference(), t.cat([x, x]).is_inference()))
inside(lambda: (x @ x).is_inference())
inside(lambda: w.mul(2).requires_grad)
inside(lambda: (w.add_(1).is_inference(), w.requires_grad))
inside(lambda: x.is_inference())
inside(lambda: t.is_grad_enabled())
inside(lambda: t.nn.Linear(2, 2)(x).is_inference())
inside(lambda: x.clone().is_inference())
inside(lambda: (x > 0).is_inference())
inside(lambda: y.view(4).is_inference())
inside(lambda: x.view(4).add_(1).tolist())
inside(lambda: t.ones(2).requires_grad_().requires_grad)
outside(lambda: x.mul(2).is_inference())
outside(lambda: (w * 2).requires_grad)
x._version""".splitlines()


def answer(library, call):
    x, w = library.ones(2, 2), library.ones(2, 2, requires_grad=True)
    with library.inference_mode():
        y = library.ones(2, 2) * 2

    def inside(f):
        with library.inference_mode():
            return f()

    def outside(f):
        with library.inference_mode(), library.inference_mode(False):
            return f()

    def saved(tensor):
        file = io.BytesIO()
        library.save(tensor, file)
        file.seek(0)
        return file

    names = {"t": library, "x": x, "y": y, "w": w, "inside": inside, "outside": outside, "saved": saved,
             "copy": copy, "pickle": pickle}
    try:
        return repr(eval(call, names))  # texts of this file
    except RuntimeError as error:
        return str(error).split(" (")[0].replace("facula", "torch")


@pytest.mark.parametrize("call", CALLS)
def test_calls(oracle, call):
    assert answer(facula, call) == oracle(lambda torch: answer(torch, call), call)


def test_other_threads_make_ordinary_tensors():
    found = []
    with facula.inference_mode():
        thread = threading.Thread(target=lambda: found.append((facula.ones(2) * 2).is_inference()))
        thread.start()
        thread.join()
    assert found == [False] and not (facula.ones(2) * 2).is_inference()


def test_the_makers_have_their_own_code_again():
    from facula._tensor.inference import _CODES

    @facula.inference_mode()
    def twice(x):
        with facula.inference_mode():
            return x * 2

    with pytest.raises(ZeroDivisionError), facula.inference_mode():
        assert twice(facula.ones(2)).is_inference()
        raise ZeroDivisionError
    assert all(maker.__code__ is plain for maker, (_, plain) in _CODES.items())
