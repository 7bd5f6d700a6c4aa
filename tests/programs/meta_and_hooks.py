"""Second-order inner loop, LBFGS, accumulation, autocast switched off, printing, hooks, error messages."""

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(12)
w = torch.randn(3, 1, requires_grad=True)
meta = torch.optim.SGD([w], lr=0.1)
for _ in range(5):
    meta.zero_grad()
    total = 0.0
    for task in range(3):
        x = torch.randn(10, 3)
        y = x @ torch.full((3, 1), float(task))
        inner = F.mse_loss(x @ w, y)
        (g,) = torch.autograd.grad(inner, w, create_graph=True)
        fast = w - 0.05 * g
        total = total + F.mse_loss(x @ fast, y)
    total.backward()
    meta.step()
    print(f"{total.item():.4f}", end=" ")
print()
model = nn.Linear(4, 1).double()
X = torch.randn(30, 4, dtype=torch.float64)
Y = X.sum(1, keepdim=True) * 2 + 1
opt = torch.optim.LBFGS(model.parameters(), lr=1, max_iter=20)


def closure():
    opt.zero_grad()
    l = F.mse_loss(model(X), Y)
    l.backward()
    return l


for _ in range(3):
    print(f"{opt.step(closure).item():.6f}", end=" ")
print(model.weight.data, model.bias)
net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.AdamW(
    [{"params": net[0].parameters(), "lr": 1e-2}, {"params": net[2].parameters()}], lr=5e-3, weight_decay=0.1
)
scaler = torch.amp.GradScaler("cpu", enabled=False)
for step in range(8):
    with torch.autocast("cpu", enabled=False):
        out = net(torch.randn(16, 4))
        loss = (
            F.cross_entropy(
                out, torch.randint(0, 2, (16,)), label_smoothing=0.1, weight=torch.tensor([1.0, 2.0])
            )
            / 2
        )
    scaler.scale(loss).backward()
    if step % 2:
        scaler.step(opt)
        scaler.update()
        opt.zero_grad()
    print(f"{loss:.4f}", end=" ")
print()
print(opt)
print(
    torch.tensor([1e-8, 1.0, 1000000.0]),
    torch.tensor([1, 2]),
    torch.tensor(3.14159),
    torch.tensor([[True, False]]),
    torch.zeros(2, 0),
    torch.arange(1100),
    torch.tensor([float("nan"), float("inf"), 1.5]),
    torch.randn(2, 2).mul(1e5).round(),
    torch.tensor([0.1, 0.22], dtype=torch.float16),
)
torch.set_printoptions(precision=2, sci_mode=False)
print(torch.tensor([1.23456, 1e-7]))
torch.set_printoptions(profile="default")
p = torch.nn.Parameter(torch.ones(2))
print(p, p.requires_grad, isinstance(p, torch.Tensor), p.data)
with torch.no_grad():
    print((p * 2).requires_grad)


@torch.no_grad()
def f():
    return (p * 3).requires_grad


print(f(), torch.is_grad_enabled())
x = torch.ones(2, 2, requires_grad=True)
y = x + 2
z = (y * y * 3).mean()
print(y, z, z.grad_fn.name())
z.backward()
print(x.grad)


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("n", torch.zeros(1))
        self.sub = nn.ModuleDict({"a": nn.Linear(1, 1)})

    def forward(self, x, *, scale=1.0):
        self.n += 1
        return self.sub["a"](x) * scale


m = M()
h = m.register_forward_pre_hook(lambda mod, inp: (inp[0] * 0 + 1,))
h2 = m.register_forward_hook(lambda mod, inp, out: out * 2)
m(torch.zeros(1, 1), scale=2.0)
h.remove()
h2.remove()
print(m.n, [n for n, _ in m.named_modules()], m.training, m.eval().training)
try:
    m(torch.zeros(1, 3))
except RuntimeError as e:
    print(e)
try:
    torch.zeros(2) + torch.zeros(3)
except RuntimeError as e:
    print(e)
try:
    y.backward()
except RuntimeError as e:
    print(e)
try:
    z.backward()
except RuntimeError as e:
    print(str(e)[:80])
try:
    nn.CrossEntropyLoss()(torch.zeros(2, 3), torch.zeros(3).long())
except ValueError as e:
    print(e)
print(
    torch.cuda.is_available(),
    torch.get_default_dtype(),
    torch.tensor(1).item(),
    torch.Size([1, 2]).numel(),
    torch.__version__.split("+")[0],
)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
print(device, net.to(device)[0].weight.device)
