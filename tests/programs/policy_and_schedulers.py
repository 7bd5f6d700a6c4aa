"""Policy gradient on a bandit, a moving average of weights, schedulers, tied weights, containers."""

import collections
import copy
import io

import torch
import torch.nn.functional as F
from torch import nn, optim

torch.manual_seed(0)
policy = nn.Sequential(
    collections.OrderedDict([("a", nn.Linear(2, 8)), ("act", nn.Tanh()), ("b", nn.Linear(8, 3))])
)
opt = optim.Adam(policy.parameters(), lr=0.05)
for ep in range(20):
    s = torch.randn(16, 2)
    logp = F.log_softmax(policy(s), -1)
    a = torch.multinomial(logp.exp().detach(), 1)
    r = (a.squeeze(1) == (s[:, 0] > 0).long()).float()
    adv = r - r.mean()
    ent = -(logp.exp() * logp).sum(-1).mean()
    loss = -(logp.gather(1, a).squeeze(1) * adv).mean() - 0.01 * ent
    opt.zero_grad()
    loss.backward()
    opt.step()
    if ep % 5 == 0:
        print(f"{ep} {loss:.4f} {r.mean():.3f} {ent.item():.4f}")
ema = copy.deepcopy(policy)
with torch.no_grad():
    for e, p in zip(ema.parameters(), policy.parameters()):
        e.mul_(0.9).add_(p, alpha=0.1)
print(all(torch.equal(a, b) for a, b in zip(ema.state_dict().values(), policy.state_dict().values())))
for make in (
    lambda o: optim.lr_scheduler.OneCycleLR(o, max_lr=0.1, total_steps=10),
    lambda o: optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    lambda o: optim.lr_scheduler.ExponentialLR(o, 0.9),
    lambda o: optim.lr_scheduler.MultiStepLR(o, [2, 4]),
    lambda o: optim.lr_scheduler.SequentialLR(
        o,
        [optim.lr_scheduler.LinearLR(o, 0.1, total_iters=3), optim.lr_scheduler.CosineAnnealingLR(o, 5)],
        [3],
    ),
):
    o = optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.05, momentum=0.9)
    s = make(o)
    l = []
    for i in range(8):
        o.step()
        s.step()
        l.append(round(s.get_last_lr()[0], 5))
    print(type(s).__name__, l)
o = optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
s = optim.lr_scheduler.ReduceLROnPlateau(o, patience=1, factor=0.5)
for v in [3, 2, 2, 2, 2, 1]:
    s.step(v)
print(o.param_groups[0]["lr"])


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.e = nn.Embedding(7, 4)
        self.h = nn.Linear(4, 7, bias=False)
        self.h.weight = self.e.weight
        self.extra = nn.ParameterDict({"s": nn.Parameter(torch.ones(4))})
        self.l = nn.ParameterList([nn.Parameter(torch.zeros(2)) for _ in range(2)])

    def forward(self, i):
        return self.h(self.e(i) * self.extra["s"])


m = Tied()
print([n for n, _ in m.named_parameters()], sum(p.numel() for p in m.parameters()), list(m.state_dict()))
out = m(torch.tensor([1, 2]))
out.pow(2).mean().backward()
print(m.e.weight.grad.abs().sum().item() > 0, m.l[0].grad)
print(m)
print(policy.a.weight.dtype, policy[0], len(policy), next(policy.children()))
stream = io.BytesIO()
torch.save(policy.state_dict(), stream)
stream.seek(0)
sd = torch.load(stream, weights_only=True)
print(policy.load_state_dict(sd), sorted(sd)[:2])
try:
    nn.Linear(2, 2).load_state_dict(sd)
except RuntimeError as e:
    print(str(e)[:200])
x = torch.randn(3, 4, requires_grad=True)
y = x.clone()
y[0] = 0
y[:, 1] *= 2
y.sum().backward()
print(x.grad)
print(
    torch.allclose(
        torch.einsum("bij,bkj->bik", torch.ones(2, 3, 4), torch.ones(2, 5, 4)), torch.full((2, 3, 5), 4.0)
    )
)
print(x.detach().numpy().shape, torch.from_numpy(x.detach().numpy()).mean().item() == x.mean().item())
print(
    f"{x.mean():.4f} {x.std():.4f}",
    x.shape,
    x.size(0),
    x.dim(),
    x.dtype,
    x.device,
    x.requires_grad,
    x.is_leaf,
    x.grad_fn,
    y.grad_fn is not None,
)
