"""Functions of functions: `vmap`, `jvp`, `vjp`, `grad`, Jacobians and Hessians. They may be nested in each other."""

from facula.func.gradients import grad, grad_and_value, vjp
from facula.func.jacobians import hessian, jacfwd, jacrev
from facula.func.modules import functional_call, stack_module_state
from facula.func.tangents import jvp
from facula.func.vectorized import vmap

__all__ = ["functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "stack_module_state",
           "vjp", "vmap"]
