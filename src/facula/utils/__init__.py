"""Utilities under their PyTorch names."""
