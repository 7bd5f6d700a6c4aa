"""Fit y = a + b x + c x^2 + d x^3 to a sine; autograd finds the gradients."""

import math

import torch

torch.manual_seed(0)
x = torch.linspace(-math.pi, math.pi, 2000)
y = torch.sin(x)
weights = [torch.randn((), requires_grad=True) for _ in range(4)]

learning_rate = 1e-6
for t in range(2000):
    a, b, c, d = weights
    y_pred = a + b * x + c * x ** 2 + d * x ** 3
    loss = (y_pred - y).pow(2).sum()
    if t % 100 == 99:
        print(t, loss.item())

    loss.backward()
    with torch.no_grad():
        for weight in weights:
            weight -= learning_rate * weight.grad
            weight.grad = None

a, b, c, d = (weight.item() for weight in weights)
print(f"Result: y = {a} + {b} x + {c} x^2 + {d} x^3")
