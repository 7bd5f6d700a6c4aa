"""How the ranks of a world reach each other: messages by key, over sockets.

    message.py     a message's head, and receives that are posted before it comes
    mailbox.py     what has come and what is awaited, by key
    mesh.py        a connection to each rank, one thread that reads them all
"""

from facula.distributed.fabric.mesh import Mesh
from facula.distributed.fabric.message import Head, Receipt

__all__ = ["Head", "Mesh", "Receipt"]
