"""Tensors and NumPy arrays that share memory: a write to one shows in the other."""

import numpy as np
import torch

a = np.ones(3)
tensor = torch.from_numpy(a)
a += 1
print(tensor)  # tensor([2., 2., 2.], dtype=torch.float64)
tensor[0] = 7
print(a)  # [7. 2. 2.]

tensor = torch.ones(3)
n = tensor.numpy()
tensor.add_(1)
print(n)  # [2. 2. 2.]
n[1] = 5
print(tensor)  # tensor([2., 5., 2.])
