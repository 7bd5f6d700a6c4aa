"""Tensors: making them, their attributes, arithmetic, in-place operations, indexing and views."""

import torch

torch.manual_seed(0)
print(torch.empty(5, 2).shape)
print(torch.Tensor([[1, 2], [3, 4]]) ** 2)

x_data = torch.tensor([[1, 2], [3, 4]])
print(torch.ones_like(x_data))  # keeps the type of x_data
print(torch.rand_like(x_data, dtype=torch.float))  # has a type of its own

x = torch.rand(5, 3)
print(x, x.shape, x.dtype, x.device)
print(torch.randint(low=0, high=5, size=(3, 3)))
print(torch.ones(3, 1))
x = torch.zeros(5, 2, dtype=torch.long)
print(x, x.size())

y = torch.rand(5, 2)
result = torch.add(x, y)
torch.add(x, y, out=result)
print(result)
y.add_(result)  # in place: y += result
print(y[0][0], y[0, 0], y[0][0].item())
print(y[:, 0], y[1, :])
print(y.view(1, 10))
print(y.view(2, 5))
print(torch.cat([y, y, y], dim=1))

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
print(x.to(device).device)
