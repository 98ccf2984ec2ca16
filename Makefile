# Two commands set everything up: `make demo` and `make test`. Each makes its own environment.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check install --quiet

# make demo [IMAGE=photo.jpg]: cut out real photos, and lay each on a contact sheet, in demo/.
demo: $(VENV)/demo
	$(BIN)/python examples/demo.py -o demo $(if $(IMAGE),"$(IMAGE)")

# make test [ARGS="-k roi"]: install what the tests need, and run them all.
test: $(VENV)/test
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/test $(VENV)/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .

# make bench: quality on the built-in set; speed and memory; both beside the real rembg.
bench: $(VENV)/test $(VENV)/peers $(VENV)-rembg/bin/rembg
	$(BIN)/wisp bench builtin --methods coarse,wisp,rembg,rembg-matting,grabcut,guided -o report
	$(BIN)/python examples/speed.py --rembg $(VENV)-rembg/bin/rembg

# make serve: the web page and the API on http://localhost:8000.
serve: $(VENV)/serve
	$(BIN)/wisp serve

# make soak [ARGS="--rembg PATH/bin/rembg"]: load and memory of the service, beside rembg's. rembg's
# server needs an environment of its own: it pins an older fastapi.
soak: $(VENV)/test $(VENV)/serve
	$(BIN)/python examples/soak.py $(ARGS)

clean:
	rm -rf $(VENV) $(VENV)-rembg demo report build *.egg-info

# A stamp for each set of extras, made anew when the list of requirements changes.
$(VENV)/demo $(VENV)/test $(VENV)/lint $(VENV)/peers $(VENV)/serve: $(VENV)/%: setup.cfg | $(BIN)/python
	$(PIP) --editable '.[$*]'
	@touch $@

# rembg's command has an environment of its own: it pins packages that Wisp's page needs newer.
$(VENV)-rembg/bin/rembg:
	$(PYTHON) -m venv $(VENV)-rembg
	$(VENV)-rembg/bin/python -m pip --disable-pip-version-check install --quiet 'rembg[cpu,cli]'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

.PHONY: demo test lint bench serve soak clean
