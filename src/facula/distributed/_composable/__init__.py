"""`torch.distributed._composable`: names of former days for what is in `torch.distributed.fsdp`."""
