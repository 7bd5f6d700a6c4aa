"""Random tensors, drawn in program order."""
