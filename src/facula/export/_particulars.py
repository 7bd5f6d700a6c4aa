"""What an ExportedProgram says beside its graph: names of arguments, ranges and guards of sizes. Attributes of
modules, which are put back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from facula.export._capture import Capture
from facula.export._cases import Plan
from facula.export._traced import Traced
from facula.export.dynamic_shapes import Sizes
from facula.export.exported_program import Guard
from facula.nn import Module
from facula.symbolic_expressions import Expression, Symbol, ValueRanges
from facula.utils import _pytree as pytree


def _rooted(formula: Expression, plan: Plan) -> Expression:
    """With the symbols that the plan leaves open."""
    values = {}
    for name in formula.symbols:
        root = plan.root(name)
        values[name] = Expression.number(plan.sizes[root].hint) if root in plan.fixed else Expression.symbol(root)
    return formula.with_values(values)


def _ranges(plan: Plan) -> dict[Symbol, ValueRanges]:
    return {Symbol(size.symbol): ValueRanges(size.lower, size.upper) for size in plan.free}


def _guards(capture: Capture, plan: Plan, sizes: Sizes) -> list[Guard]:
    """What `module()` has to look at."""
    named = {size.symbol: size.name or size.path.replace("L['", "").replace("']", "") for size in plan.free}
    found = [Guard(relation, str(relation) if not named else _shown(relation, named))
             for relation in capture.guards if relation.symbols]
    if plan.low and plan.least == 2:  # 1 was found to be another case
        from facula.symbolic_expressions import Relation
        for size in plan.free:
            if size.lower < 2:
                relation = Relation("ge", Expression.symbol(size.symbol), Expression.number(2))
                found.append(Guard(relation, _shown(relation, named)))
    return found


def _shown(relation: Any, names: dict[str, str]) -> str:
    text: str = relation.shown({})
    for symbol, name in names.items():
        text = re.sub(rf"\b{symbol}\b", lambda _, name=name: name, text)  # type: ignore[misc]
    return text


def _name(path: Any) -> str:
    """What a placeholder is called: `x`, `z_0`, `z_key`."""
    parts = [str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path]
    text = re.sub(r"\W", "_", "_".join(parts))
    text = text.lower() if len(parts) > 1 else text
    return text if text.isidentifier() else "arg_" + text


def _forward_names(module: Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[str]:
    """A name for each argument of a call."""
    import inspect
    parameters = list(inspect.signature(module.forward).parameters.values())
    found: list[str] = []
    for k in range(len(args)):
        variadic = next((p for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        plain = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        found.append(plain[k].name if k < len(plain) else f"{variadic.name if variadic else 'arg'}_{k - len(plain)}")
    return found + list(kwargs)


def _attributes(module: Module) -> dict[int, tuple[dict[str, Any], dict[str, Any]]]:
    """What all modules have as attributes, so that it can be put back."""
    return {id(one): (vars(one), dict(vars(one))) for one in module.modules()}


def _put_back(module: Module, before: dict[int, tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """Have attributes as they were. ValueError if a described tensor was kept in one."""
    kept: list[str] = []
    for now, then in before.values():
        for key in [key for key in now if key not in then]:
            value = now.pop(key)
            if any(isinstance(leaf, Traced) for leaf in pytree.tree_leaves(value)):
                kept.append(key)
        for key, value in then.items():
            if now.get(key) is not value:
                if any(isinstance(leaf, Traced) for leaf in pytree.tree_leaves(now.get(key))):
                    kept.append(key)
                now[key] = value
    if kept:
        raise ValueError(f"The tensor attribute self.{kept[0]} was assigned during export. Such attributes must be "
                         "registered as buffers using the `register_buffer` API (https://pytorch.org/docs/stable/"
                         "generated/torch.nn.Module.html#torch.nn.Module.register_buffer).")
