"""The examples in docstrings, run, and public names without a docstring: `check(module)` is a whole test."""

import doctest
import io


def failures(module, name=None, **names):
    """What went wrong in the examples of a module, of its functions and classes, as text; and how many there were.
    `names`: what the examples know beside what they import."""
    finder, found = doctest.DocTestFinder(exclude_empty=True), []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False)
    out = io.StringIO()
    for test in finder.find(module, name or module.__name__, globs={"__name__": "__main__", **names}):
        runner.run(test, out=out.write)
        found.append(test)
    return out.getvalue(), sum(len(test.examples) for test in found)


def own(module):
    """Public names of what the module itself defines."""
    return [n for n in vars(module) if not n.startswith("_")
            and getattr(getattr(module, n), "__module__", "") == module.__name__]


def undocumented(module, names=None):
    """Public functions and classes that the module defines and that have no docstring."""
    names = [n for n in vars(module) if not n.startswith("_")] if names is None else names
    return [n for n in names if callable(getattr(module, n)) and not getattr(module, n).__doc__]


def check(module, names=None, least=0):
    """All examples of the module run, and there are `least` or more; `names` have docstrings: by default what it
    defines and what its `__all__` lists."""
    said, count = failures(module)
    assert not said, said
    assert count >= least, f"{module.__name__} has {count} examples"
    names = sorted({*own(module), *getattr(module, "__all__", [])}) if names is None else names
    missing = undocumented(module, names)
    assert not missing, f"{module.__name__}: no docstrings of {missing}"


def check_one(function, name, **names):
    """A function has examples, and these run."""
    said, count = failures(function, name, **names)
    assert not said and count, said
