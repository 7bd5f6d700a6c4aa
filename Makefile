# Everything a developer or CI does. Each target makes the .venv and installs what it needs; a stamp file
# for each set of packages keeps that to once. Options: PYTHON=python3.12, JOBS=4, ORACLE=0 (no torch in parity, bench),
# DIGESTS="matmul sum" (only those results in test-arm, test-old-x86).
PYTHON ?= python3
JOBS ?= 2
ORACLE ?= 1
TORCH ?= torch==2.13.0

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
STAMPS := $(VENV)/stamps

.PHONY: demo test test-compiled test-interpreter test-eager test-oracle test-pythons test-counts \
    test-without-llvmlite test-arm test-old-x86 records parity bench soak check wheel clean

demo: $(STAMPS)/demo
	$(PY) -m facula run examples/digits.py

# The whole suite on both back ends, then the core of it with every operation run at its call. It neither installs
# torch nor looks at one that is there: what torch answers is on record (tests/oracle/).
test: test-compiled test-interpreter test-eager
test-compiled test-interpreter test-eager: export FACULA_TEST_NO_TORCH = 1

CORE := tests/ops tests/autograd tests/nn/test_nn_layers.py tests/_tensor/test_small_objects.py \
    tests/sweeps/test_random_programs.py tests/sweeps/test_sweep_writing.py tests/sweeps/test_sweep_gradients.py

test-compiled: $(STAMPS)/test
	$(PY) -m pytest -q -n $(JOBS) -m "not torch and not alone"
	$(PY) -m pytest -q -m alone

# The NumPy interpreter is the reference and what runs where llvmlite is absent: the same tests, same answers.
test-interpreter: $(STAMPS)/test
	FACULA_BACKEND=interpreter $(PY) -m pytest -q -n $(JOBS) -m "not torch and not compiled and not slow and not alone"

# Every op at its call: what differs from the lazy run is a wrong fusion or a wrong liveness.
test-eager: $(STAMPS)/test
	FACULA_EAGER=1 $(PY) -m pytest -q -n $(JOBS) -m "not torch and not slow" $(CORE)

# With torch itself: all that is compared with it is asked anew, and the records must still hold. What has none (files,
# generators, programs that hypothesis draws) runs here alone; those programs in the three ways of `make test`.
test-oracle: $(STAMPS)/test $(STAMPS)/oracle
	$(PY) -c "import torch"
	$(PY) -m pytest -q -n $(JOBS) -m oracle
	FACULA_BACKEND=interpreter $(PY) -m pytest -q tests/sweeps/test_random_programs.py
	FACULA_EAGER=1 $(PY) -m pytest -q tests/sweeps/test_random_programs.py

# ---- not in CI: other Pythons, other counts, other processors ---------------------------------------------------

# What leans on CPython most: its counts, its objects' layout, threads, and what they keep alive.
LEANING := tests/engine/cpython tests/engine/runtime tests/engine/targets tests/engine/test_*.py tests/autograd \
    tests/optim tests/_tensor tests/sweeps/test_random_programs.py
PYTHONS ?= $(or $(wildcard $(HOME)/.pyenv/versions/3.1[0-9]*/bin/python),\
    python3.10 python3.11 python3.12 python3.13 python3.14)

# The whole suite on each of PYTHONS that is at hand, in an environment of its own.
test-pythons:
	@for python in $(PYTHONS); do \
	    if $$python -c "" 2>/dev/null; then \
	        folder=.venv-$$($$python -c "import sys, sysconfig as c; print('%d.%d' % sys.version_info[:2], \
	            't' if c.get_config_var('Py_GIL_DISABLED') else '', sep='')"); \
	        echo "== $$python in $$folder"; $(MAKE) test-compiled VENV=$$folder PYTHON=$$python || exit 1; \
	    else echo "== $$python is not at hand"; fi; done
test-pythons test-counts test-without-llvmlite test-arm test-old-x86: export FACULA_TEST_NO_TORCH = 1

# Reference counts as another Python might have them: one less, one more.
test-counts: $(STAMPS)/test
	@for shift in -1 1; do echo "== counts shifted by $$shift"; \
	    FACULA_REFCOUNT_SHIFT=$$shift $(PY) -m pytest -q -n $(JOBS) -m "not torch and not alone" $(LEANING) || exit 1; done

test-without-llvmlite:
	$(MAKE) .venv-bare/stamps/test VENV=.venv-bare
	.venv-bare/bin/python -m pip uninstall -q -y llvmlite
	.venv-bare/bin/python -m pytest -q -n $(JOBS) -m "not torch and not slow and not alone" $(CORE) $(LEANING)

# 200 tests (tests/emulated.txt) on an emulated aarch64, then an example and results bit by bit as here.
test-arm: $(STAMPS)/test
	PYTHON=$(abspath $(PY)) tools/on_arm.sh -m pytest -q -n $(JOBS) -m "not torch and not slow and not alone" @tests/emulated.txt
	@mkdir -p .pytest_cache && $(PY) tools/digests.py $(DIGESTS) > .pytest_cache/digests.txt
	tools/on_arm.sh tools/digests.py --against .pytest_cache/digests.txt $(DIGESTS)

# x86-64 with AVX2, emulated: the same bits. With SSE alone there is no fused multiply-add: the tests again.
# (OpenBLAS takes the emulated processor for one that has AVX.)
test-old-x86: $(STAMPS)/test
	@command -v qemu-x86_64 >/dev/null || { echo "needs qemu-x86_64: apt-get install qemu-user"; exit 1; }
	@mkdir -p .pytest_cache && $(PY) tools/digests.py $(DIGESTS) > .pytest_cache/digests.txt
	FACULA_CACHE_DIR=$(CURDIR)/.pytest_cache/Haswell qemu-x86_64 -cpu Haswell \
	    $(PY) tools/digests.py --against .pytest_cache/digests.txt $(DIGESTS)
	OPENBLAS_CORETYPE=Nehalem FACULA_CACHE_DIR=$(CURDIR)/.pytest_cache/Nehalem qemu-x86_64 -cpu Nehalem \
	    $(PY) -m pytest -q -p no:xdist -m "not torch and not slow and not alone and not processes" @tests/emulated.txt

# Writes down anew what torch answers; `python tools/record_oracle.py test_sweep_forward` does so for one file.
records: $(STAMPS)/test $(STAMPS)/oracle
	$(PY) tools/record_oracle.py

# Eight samples of each operation, and no more than ten minutes: what CI has time for.
parity: $(STAMPS)/parity $(STAMPS)/oracle
	$(PY) tools/parity.py --jobs $(JOBS)

bench: $(STAMPS)/demo $(STAMPS)/oracle
	$(PY) bench/run.py

# What takes hours: SOAK=files does one part, SOAK='--times 0.01' a hundredth of all. Commit bench/results/soak_*.md.
soak: $(STAMPS)/test $(STAMPS)/oracle
	$(PY) tools/soak.py $(SOAK)

check: $(STAMPS)/dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(PY) -m compileall -q src
	$(PY) tests/tools/test_layers.py

wheel: $(STAMPS)/dev
	$(PIP) build
	$(PY) -m build --wheel --outdir dist

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(PY):
	$(PYTHON) -m venv $(VENV)

$(STAMPS)/demo $(STAMPS)/test $(STAMPS)/parity $(STAMPS)/dev: $(STAMPS)/%: pyproject.toml | $(PY)
	$(PIP) -e '.[$*]'
	@mkdir -p $(STAMPS) && touch $@

# torch is what `test-oracle`, parity and bench compare with. The last two leave it out where it cannot be installed.
$(STAMPS)/oracle: pyproject.toml | $(PY)
	@if [ "$(ORACLE)" = 0 ]; then echo "ORACLE=0: torch is not installed"; \
	elif $(PY) -c "import torch" 2>/dev/null || $(PIP) '$(TORCH)'; then mkdir -p $(STAMPS) && touch $@; \
	else echo "could not install $(TORCH)"; fi
