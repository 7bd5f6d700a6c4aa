"""Who moves the bytes of a group: arrays in, arrays out. What tensors are is the business of `collectives.py`.

    base.py      what a backend does: `exchange` and point to point; the collectives that are made of these
    sockets.py   `gloo`: over the mesh of connections
    mpi.py       `mpi`: over mpi4py, an extra
    fake.py      `fake`: one process that takes itself for a rank among many
"""
