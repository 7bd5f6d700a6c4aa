"""`torch.autograd.gradcheck` as a module: programs import its error from here."""

from facula.autograd.checks import GradcheckError, gradcheck, gradgradcheck

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]
