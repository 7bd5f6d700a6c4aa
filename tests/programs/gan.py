"""A GAN on points of a circle: two optimizers, detach, BCE with logits."""
import math

import torch
import torch.nn as nn

torch.manual_seed(42)


def real_points(n):
    angle = 2 * math.pi * torch.rand(n)
    return torch.stack([torch.cos(angle), torch.sin(angle)], dim=1)


generator = nn.Sequential(nn.Linear(4, 16), nn.LeakyReLU(0.2), nn.Linear(16, 2))
critic = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
for net in (generator, critic):
    for m in net.modules():
        if isinstance(m, nn.Linear):
            nn.init.xavier_uniform_(m.weight)
            nn.init.constant_(m.bias, 0.0)
g_opt = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.999))
d_opt = torch.optim.Adam(critic.parameters(), lr=2e-3, betas=(0.5, 0.999))
bce = nn.BCEWithLogitsLoss()
ones, zeros = torch.ones(32, 1), torch.zeros(32, 1)
for step in range(60):
    fake = generator(torch.randn(32, 4))
    d_opt.zero_grad()
    d_loss = bce(critic(real_points(32)), ones) + bce(critic(fake.detach()), zeros)
    d_loss.backward()
    d_opt.step()
    g_opt.zero_grad()
    g_loss = bce(critic(fake), ones)
    g_loss.backward()
    g_opt.step()
    if step % 15 == 0:
        print(f"{step:3d} D {d_loss.item():.4f} G {g_loss.item():.4f}")
with torch.no_grad():
    radius = generator(torch.randn(200, 4)).norm(dim=1)
print(f"radius {radius.mean():.3f} +- {radius.std():.3f}")
