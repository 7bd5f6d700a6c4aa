"""A custom Dataset, DataLoader, random_split, TensorDataset and a collate function."""
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split


class Waves(Dataset):
    def __init__(self, n):
        generator = torch.Generator().manual_seed(0)
        self.phase = torch.rand(n, generator=generator) * 6.28
        self.kind = torch.randint(0, 2, (n,), generator=generator)

    def __len__(self):
        return len(self.phase)

    def __getitem__(self, index):
        t = torch.arange(16) / 16 * 6.28
        wave = torch.sin(t * (1 + self.kind[index]) + self.phase[index])
        return {"wave": wave, "kind": self.kind[index], "name": f"w{index}"}


torch.manual_seed(0)
train, test = random_split(Waves(120), [100, 20])
loader = DataLoader(train, batch_size=16, shuffle=True, drop_last=True)
print(len(train), len(test), len(loader))
model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
for epoch in range(4):
    total = 0.0
    for batch in loader:
        loss = nn.functional.cross_entropy(model(batch["wave"]), batch["kind"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    print(f"epoch {epoch} {total / len(loader):.4f}", batch["name"][:2])
with torch.no_grad():
    for batch in DataLoader(test, batch_size=len(test)):
        print("accuracy", (model(batch["wave"]).argmax(1) == batch["kind"]).float().mean().item())

pairs = TensorDataset(torch.arange(10.0), torch.arange(10) % 3)
for a, b in DataLoader(pairs, batch_size=4):
    print(a.tolist(), b.tolist(), a.dtype, b.dtype)
ragged = [torch.ones(k) for k in (1, 3, 2)]
loader = DataLoader(ragged, batch_size=3, collate_fn=lambda xs: nn.utils.rnn.pad_sequence(xs, batch_first=True))
print(next(iter(loader)))
