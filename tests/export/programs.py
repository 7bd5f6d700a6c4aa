"""Programs of several kinds that the tests of torch.export capture, for Facula and torch alike."""

from __future__ import annotations


def programs(torch):
    """By name: (module, args, kwargs)."""
    nn, F = torch.nn, torch.nn.functional

    class MLP(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Dropout(0.5), nn.Linear(8, 3))

        def forward(self, x):
            return F.log_softmax(self.layers(x), -1)

    class CNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.pool = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.MaxPool2d(2)
            self.head = nn.Linear(64, 5)

        def forward(self, x):
            return self.head(self.pool(F.relu(self.norm(self.conv(x)))).flatten(1))

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.out, self.norm = nn.Linear(8, 24), nn.Linear(8, 8), nn.LayerNorm(8)

        def forward(self, x):
            b, n, d = x.shape
            q, k, v = self.qkv(self.norm(x)).view(b, n, 3, 2, d // 2).permute(2, 0, 3, 1, 4).unbind(0)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return x + self.out(y.transpose(1, 2).reshape(b, n, d))

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.lstm = nn.Embedding(7, 4), nn.LSTM(4, 6, batch_first=True)
            self.gru, self.head = nn.GRU(6, 2, num_layers=2, bidirectional=True), nn.Linear(4, 7, bias=False)
            self.head.weight = self.embedding.weight  # tied

        def forward(self, tokens):
            h, (last, cell) = self.lstm(self.embedding(tokens))
            g, _ = self.gru(h)
            return self.head(g), last + cell

    class Nested(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", torch.zeros(1))
            self.register_buffer("mask", torch.ones(3), persistent=False)
            self.scale = torch.full((3,), 2.0)

        def forward(self, x, *rest, y=None, z, flag=True):
            self.count.add_(1)
            b, n = x.shape
            w = x[:, :3] * self.scale * self.mask
            w[0] = 0.0
            with torch.no_grad():
                total = sum(rest).sum()
            if flag:
                w = w + z["a"][0]
            return {"w": w, "y": (y, [x[:, None, 1:].flatten(1)])}, total + torch.arange(b).sum(), b * n, 3

    torch.manual_seed(0)
    x = torch.randn(2, 4)
    return {
        "mlp": (MLP().eval(), (x,), {}),
        "mlp in training": (MLP(), (x,), {}),
        "cnn": (CNN().eval(), (torch.randn(2, 1, 8, 8),), {}),
        "cnn in training": (CNN(), (torch.randn(2, 1, 8, 8),), {}),
        "attention": (Attention(), (torch.randn(2, 5, 8),), {}),
        "recurrent": (Recurrent(), (torch.tensor([[1, 2, 6], [0, 3, 4]]),), {}),
        "nested": (Nested(), (x, x * 2, x * 3), {"y": x + 1, "z": {"a": [torch.randn(2, 1)]}, "flag": True}),
    }


def larger(name, args, kwargs, torch):
    """The arguments with another batch size, and which sizes are open for that: (args, kwargs, dynamic_shapes)."""
    batch = torch.export.Dim("batch")

    def grown(t):
        return torch.cat([t, t.flip(0), t], 0) if isinstance(t, torch.Tensor) else t
    tree_map = torch.utils._pytree.tree_map
    if name == "nested":
        shapes = {"x": {0: batch}, "rest": ({0: batch}, {0: batch}), "y": {0: batch}, "z": {"a": [{0: batch}]},
                  "flag": None}
    else:
        shapes = ({0: batch},)
    return tree_map(grown, args), tree_map(grown, kwargs), shapes
