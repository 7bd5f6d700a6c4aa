"""New tensors, from numbers and from other things."""
