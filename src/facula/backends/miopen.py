"""AMD's MIOpen: not used; the switch is kept."""

from __future__ import annotations

immediate = False
