# make study   the whole study at the demo profile: results/demo/run_all.ipynb
# make test    lint, types and tests but the slow ones; all of them: make test TEST_ARGS=
# make lab     JupyterLab on the notebooks
# make bench   every speed comparison; on a GPU the GPU ones too
# make published   redraw the committed figures and tables from their CSV files
# make docs    the pages of the package: build/docs/index.html
# make open    the page that make study made, in a browser
# make fuzz    damaged photographs and records against their readers, SECONDS=120 of them
# make pages   the notebooks, executed on that evidence, as HTML beside it; wants LPIE_DATA or the network
#
# Each needs python3 >= 3.11, pip and make, and sets up .venv by itself. PROFILE=smoke make study is the short one.
# TORCH=cpu installs torch without CUDA, 200 MB instead of 3 GB: the locked version from PyTorch's own package index,
# which is not the one that the lock's hashes are from, so torch and torchvision alone are installed without a hash.

PYTHON ?= python3
PROFILE ?= demo
TORCH ?= cuda
SECONDS ?= 120
UV_VERSION := 0.13.9
VENV := .venv
RUN := $(VENV)/bin/python
INSTALL := $(RUN) -m uv pip install --quiet --python $(RUN)
INSTALLED := $(VENV)/.installed
BENCH_INSTALLED := $(VENV)/.bench-installed
DOCS_INSTALLED := $(VENV)/.docs-installed
PAGE := results/$(PROFILE)/report.html
TEST_ARGS ?= -m "not slow"
LAB_ARGS ?=

unexport PYTHONDONTWRITEBYTECODE  # ten notebooks would compile PyTorch ten times

.PHONY: study test lab bench published pages docs open fuzz
.DELETE_ON_ERROR:

study: $(INSTALLED)
	@mkdir -p results/$(PROFILE)
	$(RUN) -m papermill notebooks/run_all.ipynb results/$(PROFILE)/run_all.ipynb -p profile $(PROFILE) \
	  --no-progress-bar --log-level WARNING --stdout-file -
	@echo "The page: $(PAGE), in a browser with: make open"

open:
	@test -f $(PAGE) || { echo "$(PAGE) is not there yet: make study writes it." >&2; exit 1; }
	$(RUN) -m webbrowser -t "file://$(CURDIR)/$(PAGE)"

test: $(INSTALLED)
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check lpie tests bench
	$(RUN) -m mypy
	OMP_NUM_THREADS=1 $(RUN) -m pytest --jaxtyping-packages=lpie,beartype.beartype \
	  --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(TEST_ARGS)

lab: $(INSTALLED)
	$(RUN) -m jupyterlab --notebook-dir=notebooks $(LAB_ARGS)

bench: $(BENCH_INSTALLED)
	for script in $$(grep -l __main__ bench/*.py); do echo "== $$script"; $(RUN) "$$script" || exit 1; done

docs: $(DOCS_INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --quiet
	@echo "The pages: build/docs/index.html"

fuzz: $(INSTALLED)
	$(RUN) -m tests.fuzz --seconds $(SECONDS)

published: $(INSTALLED)
	$(RUN) -m lpie.figures.report

pages: $(INSTALLED)
	$(RUN) docs/notebook_pages.py

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "python3 >= 3.11 is needed, found: $$($(PYTHON) --version 2>&1). Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv --without-pip $(VENV)
	$(PYTHON) -m pip --python $(RUN) install --quiet --disable-pip-version-check uv==$(UV_VERSION)
ifeq ($(TORCH),cpu)
	awk '/^[a-z0-9]/ {keep = !/^(torch|torchvision|triton)==|^(nvidia|cuda)-/} keep' requirements.lock > $(VENV)/cpu.lock
	$(INSTALL) --no-deps --torch-backend cpu $$(grep --only-matching --extended-regexp '^(torch|torchvision)==[0-9.]+' requirements.lock)
	$(INSTALL) --no-deps --require-hashes --requirements $(VENV)/cpu.lock
else
	$(INSTALL) --require-hashes --requirements requirements.lock
endif
	$(INSTALL) --no-deps --editable .
	@touch $@

$(BENCH_INSTALLED): $(INSTALLED)
	$(INSTALL) --constraints requirements.lock --editable '.[bench]'
	@touch $@

$(DOCS_INSTALLED): $(INSTALLED)
	$(INSTALL) --constraints requirements.lock --editable '.[docs]'
	@touch $@
