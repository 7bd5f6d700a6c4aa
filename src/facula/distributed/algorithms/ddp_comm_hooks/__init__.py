"""What may be done with the gradients of a bucket instead of adding them: `register_comm_hook`.

    default_hooks.py    all_reduce as it is, and with 16-bit floats on the way
    powerSGD_hook.py    products of thin matrices on the way
"""
