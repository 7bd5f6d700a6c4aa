"""What the user holds: tensors, their memory, their methods that are no operations."""
