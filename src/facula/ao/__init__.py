"""`torch.ao`: quantization, of which there are the names that models are written with (`facula/ao/quantization`)."""
