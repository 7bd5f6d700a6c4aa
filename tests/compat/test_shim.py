"""`import torch` is Facula. Each case in a Python of its own: this one may hold real torch, the oracle."""

import pytest

import children

pytestmark = pytest.mark.processes


def test_torch_is_facula_itself_not_a_copy():
    children.printed("""
        import sys, facula
        from facula.compat import install
        install()
        import torch
        assert torch is facula and sys.modules["torch"] is facula
        import torch.nn.functional as F, facula.nn.functional
        assert F is facula.nn.functional
        from torch.optim import SGD
        import facula.optim
        assert SGD is facula.optim.SGD
        assert sys.modules["torch.optim"] is facula.optim
        from torch.autograd import Variable
        import torch.backends.cpu
        assert torch.backends.cpu.__spec__.name == "facula.backends.cpu"
        assert not [name for name, module in sys.modules.items() if name.startswith("torch.")
                    and module is not sys.modules["facula" + name[5:]]]
    """)


def test_a_module_that_is_not_there_says_whose_it_is_not():
    children.printed("""
        import importlib.util
        from facula.compat import install
        install()
        for name in ("torch.no_such_module", "torch.nn.no_such_module", "torch.engine.graph"):
            try:
                __import__(name)
            except ModuleNotFoundError as error:
                assert repr(name) in str(error) or repr(name.rpartition(".")[0]) in str(error), error
                assert "Facula" in str(error)
                assert error.name.startswith("torch.")
            else:
                raise AssertionError(name)
        try:
            from torch import no_such_name
        except ImportError:
            pass
        assert importlib.util.find_spec("torch.no_such_module") is None
        assert importlib.util.find_spec("numpy.no_such_module") is None
    """)


def test_libraries_that_look_torch_up_find_it():
    children.printed("""
        import importlib.metadata, importlib.util
        from facula.compat import install
        install()
        assert importlib.util.find_spec("torch") is not None
        assert importlib.util.find_spec("torch.nn") is not None
        import torch
        assert importlib.metadata.version("torch") == torch.__version__ == str(torch.version.__version__)
        assert torch.__version__.startswith("2.13")
        assert importlib.metadata.metadata("torch")["Name"] == "torch"
        assert importlib.metadata.version("numpy")
    """)


def test_install_twice_and_uninstall():
    children.printed("""
        import sys
        from facula.compat import install, uninstall
        before = list(sys.meta_path)
        install(); install("0.3")
        assert len(sys.meta_path) == len(before) + 1
        uninstall()
        assert sys.meta_path == before
        assert not [name for name in sys.modules if name.partition(".")[0] == "torch"]
        import facula
        try:
            facula.tensor(1.0)[0]
        except IndexError:
            pass
        else:
            raise AssertionError("old spellings are still accepted")
    """)


def test_real_torch_first_is_an_error(torch):
    children.printed("""
        import torch
        from facula.compat import install
        try:
            install()
        except RuntimeError as error:
            assert "already imported" in str(error)
        else:
            raise AssertionError
    """)


def test_importing_facula_does_not_touch_torch():
    children.printed("""
        import sys, facula
        assert not {"torch", "scipy", "matplotlib", "llvmlite"} & set(sys.modules)
    """)
