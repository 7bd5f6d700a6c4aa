"""Logistic regression: weight decay by parameter group, a step scheduler, a confusion matrix."""
import torch

torch.manual_seed(11)
n = 200
x = torch.cat([torch.randn(n, 2) + torch.tensor([1.0, 1.0]), torch.randn(n, 2) - torch.tensor([1.0, 1.0])])
y = torch.cat([torch.ones(n), torch.zeros(n)])
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD([
    {"params": [model.weight], "weight_decay": 0.01},
    {"params": [model.bias], "lr": 0.5},
], lr=0.1)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.5)
criterion = torch.nn.BCEWithLogitsLoss()
for epoch in range(30):
    optimizer.zero_grad()
    loss = criterion(model(x).squeeze(1), y)
    loss.backward()
    optimizer.step()
    scheduler.step()
    if epoch % 6 == 0:
        print(f"{epoch:2d} loss {loss.item():.4f} lr", [round(g["lr"], 4) for g in optimizer.param_groups])
with torch.no_grad():
    predicted = (torch.sigmoid(model(x).squeeze(1)) > 0.5).long()
matrix = torch.zeros(2, 2, dtype=torch.long)
for t, p in zip(y.long(), predicted):
    matrix[t, p] += 1
print(matrix)
print("accuracy", (predicted == y).float().mean())
