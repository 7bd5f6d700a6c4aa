# Everything a developer or CI does. Each target makes the .venv and installs what it needs; a stamp file
# for each set of packages keeps that to once. Options: PYTHON=python3.12, JOBS=4, ORACLE=0 (no torch in parity, bench).
PYTHON ?= python3
JOBS ?= 2
ORACLE ?= 1
TORCH ?= torch==2.13.0

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
STAMPS := $(VENV)/stamps

.PHONY: demo test test-compiled test-interpreter test-eager test-oracle records parity bench check wheel clean

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

# Writes down anew what torch answers; `python tools/record_oracle.py test_sweep_forward` does so for one file.
records: $(STAMPS)/test $(STAMPS)/oracle
	$(PY) tools/record_oracle.py

# Eight samples of each operation, and no more than ten minutes: what CI has time for.
parity: $(STAMPS)/parity $(STAMPS)/oracle
	$(PY) tools/parity.py --jobs $(JOBS)

bench: $(STAMPS)/demo $(STAMPS)/oracle
	$(PY) bench/run.py

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
