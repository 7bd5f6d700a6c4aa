"""An LSTM from scratch on a sine, early stopping, masks, padding, NumPy, index arithmetic."""

import numpy as np
import torch
import torch.nn as nn

torch.manual_seed(4)
np.random.seed(0)


class MyLSTM(nn.Module):
    def __init__(self, i, h):
        super().__init__()
        self.x2h = nn.Linear(i, 4 * h)
        self.h2h = nn.Linear(h, 4 * h)
        self.hs = h

    def forward(self, x, state=None):
        B, T, _ = x.shape
        h, c = state if state is not None else (x.new_zeros(B, self.hs), x.new_zeros(B, self.hs))
        outs = []
        for t in range(T):
            i, f, g, o = (self.x2h(x[:, t]) + self.h2h(h)).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outs.append(h)
        return torch.stack(outs, dim=1), (h, c)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.r = MyLSTM(1, 12)
        self.o = nn.Linear(12, 1)
        self.d = nn.Dropout(0.0)

    def forward(self, x):
        y, _ = self.r(x)
        return self.o(self.d(y))[..., 0]


net = Net()


def init(m):
    if isinstance(m, nn.Linear):
        nn.init.orthogonal_(m.weight)
        nn.init.zeros_(m.bias)


net.apply(init)
t = np.linspace(0, 8 * np.pi, 200).astype(np.float32)
data = torch.from_numpy(np.sin(t))
X = data.unfold(0, 21, 5)
x, y = X[:, :-1].unsqueeze(-1), X[:, 1:]
opt = torch.optim.Adam(net.parameters(), 0.02)
best, bad = float("inf"), 0
for e in range(25):
    net.train()
    loss = nn.functional.smooth_l1_loss(net(x), y)
    opt.zero_grad()
    loss.backward()
    nn.utils.clip_grad_value_(net.parameters(), 0.5)
    opt.step()
    net.eval()
    with torch.inference_mode():
        v = nn.functional.mse_loss(net(x), y).item()
    if v < best - 1e-4:
        best, bad = v, 0
    else:
        bad += 1
    if e % 6 == 0:
        print(e, round(loss.item(), 4), round(v, 4))
    if bad > 5:
        break
print(x.shape, y.shape, type(best))
lengths = torch.tensor([3, 1, 2])
mask = torch.arange(4)[None, :] < lengths[:, None]
print(mask, mask.sum(1), (~mask).float().cumsum(1)[0])
seq = nn.utils.rnn.pad_sequence([torch.ones(n) * n for n in (3, 1, 2)], batch_first=True)
print(seq, torch.where(mask[:, :3], seq, torch.tensor(-1.0)))
a = np.array(seq)
print(
    a.dtype,
    np.mean(seq.numpy()),
    torch.tensor(a).sum(),
    torch.as_tensor(a, dtype=torch.float64).dtype,
    np.exp(seq).shape if hasattr(np.exp(seq), "shape") else None,
)
scores = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]])
v, i = scores.max(dim=1)
print(v, i, scores.topk(2).indices.tolist(), scores.argsort(descending=True).tolist())
print(
    torch.bincount(torch.tensor([0, 1, 1, 3]), minlength=5),
    torch.unique(torch.tensor([3, 1, 1, 2]), return_counts=True),
    torch.eye(3)[torch.tensor([0, 2])],
)
conf = torch.zeros(3, 3, dtype=torch.int64)
conf.index_put_(
    (torch.tensor([0, 1, 1]), torch.tensor([0, 2, 2])), torch.ones(3, dtype=torch.int64), accumulate=True
)
print(conf)
h = torch.histc(torch.tensor([1.0, 2, 2, 3]), bins=3, min=1, max=3)
print(
    h,
    torch.linspace(0, 1, 3),
    torch.logspace(0, 2, 3),
    torch.meshgrid(torch.arange(2), torch.arange(3), indexing="ij")[0].shape,
)
