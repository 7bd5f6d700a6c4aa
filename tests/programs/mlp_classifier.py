"""An MLP on made-up digits: manual batches, cross entropy, accuracy, train and eval."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Net(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.fc1 = nn.Linear(16, hidden)
        self.bn = nn.BatchNorm1d(hidden)
        self.fc2 = nn.Linear(hidden, 4)

    def forward(self, x):
        x = F.relu(self.bn(self.fc1(x.view(x.size(0), -1))))
        return self.fc2(x)


def make_data(n):
    labels = torch.randint(0, 4, (n,))
    centres = torch.eye(4).repeat_interleave(4, dim=1) * 2
    return (centres[labels] + torch.randn(n, 16)).view(n, 1, 4, 4), labels


def accuracy(model, x, y):
    model.eval()
    with torch.no_grad():
        correct = (model(x).argmax(dim=1) == y).sum().item()
    model.train()
    return correct / len(y)


torch.manual_seed(1)
x, y = make_data(256)
x_test, y_test = make_data(100)
model = Net()
print("parameters", sum(p.numel() for p in model.parameters() if p.requires_grad))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for epoch in range(3):
    order = torch.randperm(len(x))
    total = 0.0
    for start in range(0, len(x), 32):
        batch = order[start:start + 32]
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x[batch]), y[batch])
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    print(f"epoch {epoch} loss {total / len(x):.4f} accuracy {accuracy(model, x_test, y_test):.2f}")
