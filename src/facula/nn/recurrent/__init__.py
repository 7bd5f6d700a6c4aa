"""Recurrent layers: what a step is (`cells.py`, `unrolled.py`), a whole sequence as one operation (`sequence.py`)."""
