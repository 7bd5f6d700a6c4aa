"""`__torch_function__` and modes: what they are told and what comes of it, as in PyTorch where it is at hand."""

import copy
import importlib
import threading

import pytest

import children
import facula
from facula.ops import listening, op


@pytest.fixture(params=["facula", pytest.param("torch", marks=pytest.mark.torch)])
def lib(request):
    return request.getfixturevalue(request.param)


def logging_mode(lib):
    class Log(lib.overrides.TorchFunctionMode):
        def __init__(self):
            super().__init__()
            self.names = []

        def __torch_function__(self, func, types, args=(), kwargs=None):
            self.names.append(func.__name__)
            return func(*args, **(kwargs or {}))

    return Log()


def subclass(lib):
    class Tagged(lib.Tensor):
        told = []

        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            cls.told.append(func.__name__)
            return super().__torch_function__(func, types, args, kwargs)

    return Tagged


CALLS = {
    "add": lambda L, x: x + 1,
    "radd": lambda L, x: 1 + x,
    "rsub": lambda L, x: 1 - x,
    "rpow": lambda L, x: 2**x,
    "matmul": lambda L, x: x @ x,
    "equal": lambda L, x: x == 1,
    "greater": lambda L, x: x > 1,
    "negative": lambda L, x: -x,
    "in place": lambda L, x: x.clone().add_(1),
    "root": lambda L, x: L.add(x, x),
    "cat": lambda L, x: L.cat([x, x]),
    "where": lambda L, x: L.where(L.ones(2, 2) > 0, x, 0.0),
    "functional": lambda L, x: L.nn.functional.relu(x),
    "loss": lambda L, x: L.nn.functional.mse_loss(x, L.zeros(2, 2)),
    "trace": lambda L, x: x.trace(),
    "split": lambda L, x: x.split(1)[0],
    "namedtuple": lambda L, x: x.max(0).values,
    "property": lambda L, x: x.T,
    "data": lambda L, x: x.data,
    "like": lambda L, x: L.zeros_like(x),
    "new": lambda L, x: x.new_zeros(2),
    "detach": lambda L, x: x.detach(),
    "size": lambda L, x: x.size(),
    "item": lambda L, x: x.sum().item(),
    "numpy": lambda L, x: x.numpy(),
    "requires_grad": lambda L, x: x.requires_grad_(),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_mode_is_told(lib, torch, call):
    expected = logging_mode(torch)
    with expected:
        CALLS[call](torch, torch.ones(2, 2))
    log = logging_mode(lib)
    with log:
        CALLS[call](lib, lib.ones(2, 2))
    assert log.names == expected.names


@pytest.mark.parametrize("call", CALLS)
def test_a_subclass_is_told_and_kept(torch, call):
    seen = []
    for lib in (facula, torch):
        kind = subclass(lib)
        result = CALLS[call](lib, lib.ones(2, 2).as_subclass(kind))
        seen.append((kind.told, type(result).__name__))
    assert seen[0] == seen[1]


def test_the_values_are_those_without_it(lib):
    x = lib.arange(4.0).reshape(2, 2)
    t = x.as_subclass(subclass(lib))
    assert (t * 2 + 1).tolist() == (x * 2 + 1).tolist()
    assert type(t.as_subclass(lib.Tensor)) is lib.Tensor
    assert [type(part) for part in t] == [type(t)] * 2


def test_gradients_reach_a_subclass(lib):
    kind = subclass(lib)
    t = lib.ones(2).as_subclass(kind).requires_grad_()
    kind.told.clear()
    (t * 3).sum().backward()
    assert t.grad.tolist() == [3.0, 3.0]
    assert kind.told[:3] == ["mul", "sum", "backward"]
    assert not {"expand", "fill_", "ones_like"} & set(kind.told)  # not what the backward pass does


def test_the_walk_is_not_told(lib):
    x = lib.ones(2, requires_grad=True)
    y = (x * x).sum()
    log = logging_mode(lib)
    with log:
        lib.autograd.grad(y, x)
    assert set(log.names) <= {"grad"}


def _in_a_tensor_hook(lib, x, user):
    x.register_hook(lambda g: user(g))
    return (x * 2).sum()


def _in_a_step_hook(lib, x, user):
    y = x * 2
    y.grad_fn.register_hook(lambda ins, outs: (user(ins[0]), *ins[1:]))
    y.grad_fn.register_prehook(lambda outs: (user(outs[0]),))
    return y.sum()


def _after_the_leaf(lib, x, user):
    def hook(t):
        user(t.grad)

    x.register_post_accumulate_grad_hook(hook)
    return (x * 2).sum()


def _in_a_function(lib, x, user):
    class Double(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return user(g)

    return Double.apply(x).sum()


def _unpacking(lib, x, user):
    with lib.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: user(t)):
        return (x * x).sum()


def _in_a_module_hook(lib, x, user):
    layer = lib.nn.Linear(2, 1)
    layer.register_full_backward_hook(lambda module, ins, outs: (user(ins[0]), *ins[1:]))
    return layer(x).sum()


def _computed_again(lib, x, user):
    return lib.utils.checkpoint.checkpoint(lambda v: user(v).exp().sum(), x, use_reentrant=False)


PLACES = [_in_a_tensor_hook, _in_a_step_hook, _after_the_leaf, _in_a_function, _unpacking, _in_a_module_hook,
          _computed_again]


@pytest.mark.parametrize("someone", [False, True])
@pytest.mark.parametrize("build", PLACES)
def test_the_programs_own_code_in_a_walk_is_heard(lib, build, someone):
    """The engine's doing is not told, what a hook or a Function calls is: by a mode that is entered there and by a
    subclass, whether others listen or not."""
    if build is _computed_again:
        importlib.import_module(f"{lib.__name__}.utils.checkpoint")
    log = logging_mode(lib)
    kind = subclass(lib) if someone else None
    tagged = lib.ones(2).as_subclass(kind) if someone else None

    def user(t):
        if someone:
            kind.told.clear()
            tagged.cosh()
        with log:
            return t.atan()

    x = lib.ones(2, requires_grad=True)
    loss = build(lib, x, user)
    log.names.clear()
    if someone:
        kind.told.clear()
    loss.backward()
    assert set(log.names) == {"atan"}
    assert not someone or kind.told == ["cosh"]


def test_a_quiet_program_stays_quiet_in_a_walk(lib):
    """Whoever has switched subclasses and modes off is not heard in a hook either."""
    log = logging_mode(lib)
    x = lib.ones(2, requires_grad=True)
    x.register_hook(lambda g: g.atan())
    loss = (x * 2).sum()
    with log, lib._C.DisableTorchFunction():
        loss.backward()
    assert not log.names


def test_nested_modes_pass_on(lib):
    outer, inner = logging_mode(lib), logging_mode(lib)
    with outer, inner:
        x = lib.ones(2)
        x + x
    assert outer.names == inner.names == ["ones", "add"]
    x + x
    assert len(outer.names) == 2


def test_a_mode_may_answer(lib):
    class Seven(lib.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return 7 if func is lib.add else func(*args, **(kwargs or {}))

    with Seven():
        assert lib.add(1, 2) == 7


def test_a_mode_ends_with_an_error(lib):
    log = logging_mode(lib)
    with pytest.raises(RuntimeError), log:
        lib.ones(2, 3) @ lib.ones(2, 3)
    count = len(log.names)
    lib.ones(2)
    assert len(log.names) == count


def test_other_types_are_asked(lib):
    class Length:
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return func.__name__, [t.__name__ for t in types]

    assert lib.add(Length(), 1) == ("add", ["Length"])
    assert lib.ones(1) + Length() == ("add", ["Length"])
    assert lib.nn.functional.relu(Length()) == ("relu", ["Length"])
    assert lib.cat([lib.ones(1), Length()]) == ("cat", ["Length"])
    assert lib.overrides.is_tensor_like(Length()) and not lib.overrides.is_tensor_like(1)
    assert lib.overrides.has_torch_function((lib.ones(1), Length()))
    assert not lib.overrides.has_torch_function((lib.ones(1), lib.nn.Parameter(lib.ones(1))))


def test_nobody_has_an_answer(lib):
    class Refusing(lib.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return NotImplemented

    with pytest.raises(TypeError, match="__torch_function__"):
        lib.add(lib.ones(1).as_subclass(Refusing), 1)


def test_a_subclass_is_asked_before_its_base(lib):
    order = []

    class Base(lib.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            order.append(cls.__name__)
            return NotImplemented

    class Derived(Base):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            order.append(cls.__name__)
            return NotImplemented

    with pytest.raises(TypeError):
        lib.add(lib.ones(1).as_subclass(Base), lib.ones(1).as_subclass(Derived))
    assert order == ["Derived", "Base"]


def test_the_switch_for_subclasses(lib):
    kind = subclass(lib)
    t = lib.ones(2).as_subclass(kind)
    kind.told.clear()
    with lib._C.DisableTorchFunctionSubclass():
        result = t + 1
    assert type(result) is lib.Tensor and not kind.told


def test_a_function_of_ones_own(lib):
    def double(x):
        if lib.overrides.has_torch_function((x,)):
            return lib.overrides.handle_torch_function(double, (x,), x)
        return x * 2

    kind = subclass(lib)
    t = lib.ones(2).as_subclass(kind)
    kind.told.clear()
    assert double(t).tolist() == [2.0, 2.0] and kind.told[0] == "double"


def test_parameters_have_no_say(lib):
    assert type(lib.nn.Parameter(lib.ones(2)) + 1) is lib.Tensor
    module = lib.nn.Linear(2, 2)
    log = logging_mode(lib)
    with log:
        module(lib.ones(1, 2))
    assert log.names == ["ones", "linear"]


def test_modes_are_of_their_thread(lib):
    log = logging_mode(lib)
    with log:
        other = threading.Thread(target=lambda: lib.ones(2) + 1)
        other.start()
        other.join()
    assert log.names == []


def test_a_copy_stays_a_subclass():
    kind = subclass(facula)
    assert type(copy.deepcopy(facula.ones(2).as_subclass(kind))) is kind


# ---- ours alone --------------------------------------------------------------------------------


@pytest.mark.processes  # of its own: a class with an answer, of another test, listens as long as it lives
def test_nothing_is_on_the_way_while_nobody_listens():
    children.printed("""
        import facula
        from facula.ops import listening

        class Mode(facula.overrides.TorchFunctionMode):
            def __torch_function__(self, func, types, args=(), kwargs=None):
                return func(*args, **(kwargs or {}))

        code = facula.add.__code__
        with Mode():
            assert facula.add.__code__ is not code
        assert facula.add.__code__ is code
        assert listening.doors and all(door.form.__code__ is door.codes[False] for door in listening.doors.values())
    """)


def test_every_operation_has_a_door():
    with listening.listening():
        for operation in op.operations():
            for spelling, form in operation.spellings.items():
                name = spelling.removeprefix("Tensor.")
                assert id(form) in listening.doors or name in listening._INTERNAL, spelling


def test_a_function_that_was_taken_before_is_told_too():
    before = facula.nn.functional.softplus
    log = logging_mode(facula)
    with log:
        before(facula.ones(2))
    assert log.names == ["ones", "softplus"]


def test_an_error_says_which_operation():
    with pytest.raises(RuntimeError) as caught, facula.overrides.OperationErrors():
        facula.cat([facula.ones(2, 3), facula.ones(2, 3)]) @ facula.ones(2)
    assert caught.value.__notes__ == ["in torch.matmul(Tensor[4, 3], Tensor[2])"]


def test_a_tensor_as_another_class_is_a_view_on_the_tape(oracle):
    def run(library):
        class Mine(library.Tensor):
            pass

        w = library.ones(2, 2, requires_grad=True)
        mine = w.as_subclass(Mine)
        found = [mine.is_leaf, mine.grad_fn.name(), mine._is_view(), type(mine * 2).__name__]
        (mine * 2).sum().backward()
        found.append(w.grad.tolist())
        y = w * 1
        y.as_subclass(Mine).mul_(3)
        mine = (w * 5).as_subclass(Mine)
        mine[0].mul_(2)  # through a view that is one of the class
        (y.sum() + mine.sum()).backward()
        found += [y.tolist(), w.grad.tolist()]
        gradient, = library.autograd.grad((w.as_subclass(Mine) * 2).sum(), w)
        return [*found, gradient.tolist()]

    ours, theirs = oracle.both(run)
    assert ours == theirs
