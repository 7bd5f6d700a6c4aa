"""Functions of functions: `vmap`, `jvp`, `vjp`, `grad`, Jacobians and Hessians. They may be nested in each other."""

from facula.func.gradients import grad, grad_and_value, vjp
from facula.func.jacobians import hessian, jacfwd, jacrev
from facula.func.modules import functional_call, replace_all_batch_norm_modules_, stack_module_state
from facula.func.rearranging import rearrange
from facula.func.tangents import jvp, linearize
from facula.func.vectorized import vmap
from facula.func.wrapping import debug_unwrap, functionalize

__all__ = ["debug_unwrap", "functional_call", "functionalize", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev",
           "jvp", "linearize", "rearrange", "replace_all_batch_norm_modules_", "stack_module_state", "vjp", "vmap"]
