"""The Open Inference Protocol by REST."""
