"""Full backward hooks and `retain_grad`, where gradients do not go the straight way: as torch has it."""

import warnings

import pytest

import facula

pytestmark = pytest.mark.oracle


def seen_by_hooks(torch, module, log, pre=True):
    def told(gradients):
        return [None if g is None else (tuple(g.shape), g.requires_grad) for g in gradients]

    for m in module.modules():
        if len(list(m.children())) == 0:
            m.register_full_backward_hook(lambda m, gi, go: log.append(("full", told(gi), told(go))))
            if pre:
                m.register_full_backward_pre_hook(lambda m, go: log.append(("pre", told(go))))
    return module


def net(torch, log, pre=True):
    layers = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    return seen_by_hooks(torch, layers, log, pre)


def of(torch, body):
    class Layer(torch.nn.Module):
        def forward(self, *args):
            return body(*args)
    return Layer()


def double_backward(torch, log):
    x = torch.ones(2, 2, requires_grad=True)
    g, = torch.autograd.grad(net(torch, log)(x).sum(), x, create_graph=True)
    g.pow(2).sum().backward()


def listed(torch, log):
    layer = seen_by_hooks(torch, of(torch, lambda x: [x * 2, x * 3]), log)
    x = torch.ones(2, requires_grad=True)
    result = layer(x)
    result[0].sum().backward()
    return type(result) is list, x.grad


def named(torch, log):
    layer = seen_by_hooks(torch, of(torch, lambda x: {"a": x * 2}), log)
    x = torch.ones(2, requires_grad=True)
    layer(x)["a"].sum().backward()
    return x.grad


def nested(torch, log):
    layer = seen_by_hooks(torch, of(torch, lambda x: (x * 2, [x * 3], None)), log)
    x = torch.ones(2, requires_grad=True)
    layer(x)[0].sum().backward()
    layer(x)[1][0].sum().backward()
    return x.grad


def arguments_stay(torch, log):
    found = []

    def body(x, mask, index, number):
        found.extend([x.requires_grad, mask.requires_grad, mask.is_leaf, index.requires_grad])
        return x * mask, mask

    layer = seen_by_hooks(torch, of(torch, body), log)
    x = torch.ones(2, requires_grad=True)
    result = layer(x, torch.ones(2), torch.ones(2).long(), 3)
    result[0].sum().backward()
    return found, [r.requires_grad for r in result]


def captured(torch, log):
    kept = []
    layers = net(torch, log)
    layers[1].register_forward_hook(lambda m, args, out: kept.extend([args[0], out]))
    y = layers(torch.ones(2, 2, requires_grad=True)).sum()
    a = torch.autograd.grad(y, kept[0], retain_graph=True)
    log.append("then")
    return [tuple(g.shape) for g in a + torch.autograd.grad(y, kept[1])]


def auxiliary(torch, log):
    kept = []
    layer = seen_by_hooks(torch, of(torch, lambda x: (kept.append(x * 3), x.tanh())[1]), log)
    x = torch.ones(2, 2, requires_grad=True)
    y = layer(x * 1)
    kept[0].sum().backward(retain_graph=True)
    log.append("then")
    y.sum().backward()
    y = layer(x * 1)
    (y.sum() + kept[1].sum()).backward()
    return x.grad


def unused_result(torch, log):
    layer = seen_by_hooks(torch, of(torch, lambda x, y: (x * 2, y * 3)), log)
    x, y = (torch.ones(2, requires_grad=True) for _ in "xy")
    layer(x, y)[0].sum().backward()
    return x.grad, y.grad


def own_output(torch, log):
    layer = seen_by_hooks(torch, torch.nn.Linear(2, 2), log)
    y = layer(torch.ones(2, requires_grad=True))
    return torch.autograd.grad(y.sum(), y)


@pytest.mark.parametrize("case", [double_backward, listed, named, nested, arguments_stay, captured, auxiliary,
                                  unused_result, own_output], ids=lambda case: case.__name__)
def test_full_backward_hooks(oracle, case):
    def run(torch):
        log = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return case(torch, log), log

    mine, theirs = oracle.both(run)
    assert str(mine) == str(theirs)


WRITES = {
    "mul_": lambda torch, y, x: y.mul_(3),
    "twice": lambda torch, y, x: y.mul_(3).mul_(5),
    "set": lambda torch, y, x: y.__setitem__(0, 5.0),
    "through a view": lambda torch, y, x: y[:2].mul_(3),
    "copy_": lambda torch, y, x: y.copy_(x * 7),
    "zero_": lambda torch, y, x: y.zero_(),
    "index_add_": lambda torch, y, x: y.index_add_(0, torch.tensor([1, 1]), x[:2]),
    "masked_fill_": lambda torch, y, x: y.masked_fill_(x > 0, 2.0),
    "clamp_": lambda torch, y, x: y.clamp_(0, 1),
}


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("write", WRITES)
def test_retained_gradient_is_that_of_the_newest_value(oracle, write, again):
    def run(torch):
        x = torch.tensor([1.0, -2.0, 3.0, 0.5], requires_grad=True)
        y = x * 2
        y.retain_grad()
        used = y * 3
        WRITES[write](torch, y, x)
        if again:
            y.retain_grad()
            y.mul_(2)
        (used.sum() + (y * y).sum()).backward()
        return y.grad, x.grad, y.retains_grad

    mine, theirs = oracle.both(run)
    assert str(mine) == str(theirs)


def test_retained_gradient_of_a_view(oracle):
    def run(torch, which):
        x = torch.ones(4, requires_grad=True)
        y = x * 2
        v = y[:2]
        v.retain_grad()
        (y if which == "base" else v).mul_(3)
        ((v * v).sum() + y.sum()).backward()
        return v.grad, x.grad

    for which in ("base", "view"):
        mine, theirs = oracle.both(lambda torch, which=which: run(torch, which))
        assert str(mine) == str(theirs)


def test_a_captured_step_that_leads_no_further_is_not_run():
    calls = []

    class Double(facula.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            calls.append("backward")
            return g * 2

    x = facula.ones(2, requires_grad=True)
    y = Double.apply(x)
    facula.autograd.grad((y * 3).sum(), y, retain_graph=True)
    assert calls == []
    facula.autograd.grad((y * 3).sum(), (y, x))
    assert calls == ["backward"]
