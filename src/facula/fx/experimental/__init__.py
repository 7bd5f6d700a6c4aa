"""What PyTorch calls experimental of fx, and libraries use: fusing for inference, arguments made alike, `make_fx`."""
