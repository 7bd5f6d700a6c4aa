"""Matrix factorisation of ratings, with saving and loading of everything half-way."""
import io

import torch
import torch.nn as nn


class Factors(nn.Module):
    def __init__(self, users, items, k=4):
        super().__init__()
        self.u = nn.Embedding(users, k)
        self.v = nn.Embedding(items, k)
        self.bu = nn.Embedding(users, 1)
        self.bv = nn.Embedding(items, 1)
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, i, j):
        return (self.u(i) * self.v(j)).sum(1) + self.bu(i).squeeze(-1) + self.bv(j).squeeze(-1) + self.mean


torch.manual_seed(5)
rank = torch.randn(12, 2) @ torch.randn(2, 15)
i, j = torch.nonzero(torch.rand(12, 15) < 0.6, as_tuple=True)
r = rank[i, j]
model = Factors(12, 15)
model.mean.copy_(r.mean())
optimizer = torch.optim.Adam(model.parameters(), lr=0.05, weight_decay=1e-4)


def train(model, optimizer, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(i, j), r)
        loss.backward()
        optimizer.step()
    return loss.item()


print(f"{train(model, optimizer, 30):.4f}")
stream = io.BytesIO()
torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 30}, stream)
straight = train(model, optimizer, 30)
stream.seek(0)
checkpoint = torch.load(stream)
again = Factors(12, 15)
print(again.load_state_dict(checkpoint["model"]))
optimizer = torch.optim.Adam(again.parameters(), lr=0.05, weight_decay=1e-4)
optimizer.load_state_dict(checkpoint["optimizer"])
resumed = train(again, optimizer, 30)
print(f"{straight:.4f} {resumed:.4f} {straight == resumed} {checkpoint['epoch']}")
print(list(checkpoint["model"]), sorted(checkpoint["optimizer"]))
