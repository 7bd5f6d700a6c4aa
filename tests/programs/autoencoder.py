"""An autoencoder with Sequential, a sigmoid output and BCE; a forward hook looks at the code."""
import torch
from torch import nn

torch.manual_seed(3)
basis = (torch.rand(4, 20) > 0.5).float()
picks = torch.randint(0, 2, (200, 4)).float()
data = ((picks @ basis) > 0.5).float()

encoder = nn.Sequential(nn.Linear(20, 12), nn.Tanh(), nn.Linear(12, 4), nn.Tanh())
decoder = nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, 20), nn.Sigmoid())
model = nn.Sequential(encoder, decoder)
codes = []
handle = encoder.register_forward_hook(lambda module, inputs, output: codes.append(output.detach()))
optimizer = torch.optim.RMSprop(model.parameters(), lr=5e-3)
criterion = nn.BCELoss()
for epoch in range(8):
    total = 0.0
    for batch in data.split(50):
        reconstructed = model(batch)
        loss = criterion(reconstructed, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    if epoch % 2 == 0:
        print(f"epoch {epoch} {total / 4:.4f}")
handle.remove()
model(data[:2])
print("codes", len(codes), tuple(codes[0].shape), f"{codes[-1].abs().mean().item():.3f}")
print(model)
