"""The Open Inference Protocol by gRPC."""
