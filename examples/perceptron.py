"""One neuron learns y = 3 x, example by example; then two layers do."""

import torch
import torch.nn as nn
import torch.optim as optim


class Perceptron(nn.Module):
    """y = m x + b."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(1, 1)

    def forward(self, x):
        return self.fc1(x)


class TwoLayers(nn.Module):
    """Ten hidden units without a nonlinearity: still a straight line."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(1, 10)
        self.fc2 = nn.Linear(10, 1)

    def forward(self, x):
        return self.fc2(self.fc1(x))


def train(net, criterion, momentum):
    data = [(1, 3), (2, 6), (3, 9), (4, 12), (5, 15), (6, 18)]
    optimizer = optim.SGD(net.parameters(), lr=0.01, momentum=momentum)
    for epoch in range(100):
        for i, (x, y) in enumerate(data):
            x, y = torch.tensor([float(x)]), torch.tensor([float(y)])
            optimizer.zero_grad()
            loss = criterion(net(x), y).sum()
            loss.backward()
            optimizer.step()
            if i == 0 and epoch % 10 == 9:
                print(f"Epoch {epoch} - loss: {loss.item()}")


torch.manual_seed(0)
net = Perceptron()
print(net)
print(list(net.parameters()))
train(net, lambda out, label: (label - out) ** 2, momentum=0.5)
print(list(net.parameters()))
print(net(torch.ones(1, 1, 1)))

net = TwoLayers()
print(net)
train(net, nn.MSELoss(), momentum=0.01)
print(net(torch.ones(1, 1, 1)))
