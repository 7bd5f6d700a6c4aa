"""The examples in docstrings, run: `failures(module)` for a module and everything that it defines."""

import doctest
import io


def failures(module):
    """What went wrong in the examples of a module, of its functions and classes, as text; and how many there were."""
    finder, found = doctest.DocTestFinder(exclude_empty=True), []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False)
    out = io.StringIO()
    for test in finder.find(module, module.__name__, globs={"__name__": "__main__"}):
        runner.run(test, out=out.write)
        found.append(test)
    return out.getvalue(), sum(len(test.examples) for test in found)


def undocumented(module, names=None):
    """Public functions and classes that the module defines and that have no docstring."""
    names = [n for n in vars(module) if not n.startswith("_")] if names is None else names
    return [n for n in names if callable(getattr(module, n)) and not getattr(module, n).__doc__]
