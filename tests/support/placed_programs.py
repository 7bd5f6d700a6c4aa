"""Random programs on a device, beside the cpu."""

import facula


class Placed:
    """Programs on the accelerator and on the cpu: library 0 is there, library 1 here."""

    place = "cpu"

    def both(self, name, step):
        def placed(k):
            with facula.device(self.place if k == 0 else "cpu"):
                return step(k)
        return super().both(name, placed)
