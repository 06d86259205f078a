# make study   the whole study at the demo profile: results/demo/run_all.ipynb
# make test    lint, types and tests
# make lab     JupyterLab on the notebooks
# make bench   every speed comparison; on a GPU the GPU ones too
# make published   redraw the committed figures and tables from their CSV files
# make pages   the notebooks, executed on that evidence, as HTML beside it; wants LPIE_DATA or the network
#
# Each needs python3 >= 3.11, pip and make, and sets up .venv by itself. PROFILE=smoke make study is the short one.

PYTHON ?= python3
PROFILE ?= demo
UV_VERSION := 0.13.9
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
BENCH_INSTALLED := $(VENV)/.bench-installed
TEST_ARGS ?=
LAB_ARGS ?=

.PHONY: study test lab bench published pages
.DELETE_ON_ERROR:

study: $(INSTALLED)
	@mkdir -p results/$(PROFILE)
	$(RUN) -m papermill notebooks/run_all.ipynb results/$(PROFILE)/run_all.ipynb -p profile $(PROFILE) \
	  --no-progress-bar --log-level WARNING --stdout-file -

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

published: $(INSTALLED)
	$(RUN) -m lpie.figures.report

pages: $(INSTALLED)
	$(RUN) -m lpie.engine.notebook_pages

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "python3 >= 3.11 is needed, found: $$($(PYTHON) --version 2>&1). Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv --without-pip $(VENV)
	$(PYTHON) -m pip --python $(RUN) install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(RUN) -m uv pip install --quiet --python $(RUN) --require-hashes --requirements requirements.lock
	$(RUN) -m uv pip install --quiet --python $(RUN) --no-deps --editable .
	@touch $@

$(BENCH_INSTALLED): $(INSTALLED)
	$(RUN) -m uv pip install --quiet --python $(RUN) --constraints requirements.lock --editable '.[bench]'
	@touch $@
