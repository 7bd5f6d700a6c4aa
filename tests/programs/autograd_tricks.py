"""Custom Function, hooks, double backward, gradient penalty, jacobians, accumulation, frozen layers."""
import torch
import torch.nn as nn


class ClippedSquare(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, limit):
        ctx.save_for_backward(x)
        ctx.limit = limit
        return x.clamp(-limit, limit) ** 2

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 2 * x * (x.abs() <= ctx.limit), None


x = torch.tensor([-3.0, -0.5, 0.25, 2.0], requires_grad=True)
y = ClippedSquare.apply(x, 1.0)
y.sum().backward()
print(y, x.grad)

x = torch.linspace(-1, 1, 5, dtype=torch.double, requires_grad=True)
(first,) = torch.autograd.grad((x ** 3).sum(), x, create_graph=True)
(second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
(third,) = torch.autograd.grad(second.sum(), x)
print(first.detach(), second.detach(), third, sep="\n")

torch.manual_seed(9)
net = nn.Sequential(nn.Linear(3, 8), nn.Softplus(), nn.Linear(8, 1))
seen = []
net[0].weight.register_hook(lambda g: seen.append(g.norm().item()) or g * 0.5)
net[2].register_full_backward_hook(lambda m, gi, go: seen.append(tuple(go[0].shape)))
points = torch.randn(6, 3, requires_grad=True)
out = net(points)
(slope,) = torch.autograd.grad(out.sum(), points, create_graph=True)
penalty = ((slope.norm(2, dim=1) - 1) ** 2).mean()
(out.mean() + 10 * penalty).backward()
print(f"penalty {penalty.item():.4f} grad {net[0].weight.grad.norm():.4f}", len(seen), seen[-1] is not None)

jacobian = torch.autograd.functional.jacobian(
    lambda t: torch.stack([t[0] * t[1], t.sin().sum()]), torch.tensor([1.0, 2.0]))
print(jacobian)

for p in net[0].parameters():
    p.requires_grad = False
net.zero_grad()
for chunk in torch.randn(8, 3).chunk(4):
    (net(chunk).pow(2).mean() / 4).backward()
print([p.grad is None or not p.grad.any().item() for p in net.parameters()], f"{net[2].weight.grad.sum():.4f}")
