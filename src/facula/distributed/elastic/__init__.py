"""`torch.distributed.elastic`: what programs import of it. The agent itself is `facula.distributed.launcher`."""
