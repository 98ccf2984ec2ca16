# Each command makes its own environment in .venv, and adds what it needs: `make demo` 0.6 GB, `make test` 1 GB,
# `make test-all` 2 GB with a CPU build of PyTorch and 6 GB with the CUDA one.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check install --quiet

# make demo [IMAGE=photo.jpg]: cut out real photos, and lay each on a contact sheet, in demo/.
demo: $(VENV)/demo
	$(BIN)/python examples/demo.py -o demo $(if $(IMAGE),"$(IMAGE)")

# make test [ARGS="-k roi"]: everything of the product: pipeline, service, eval. No PyTorch.
# make test-all: the trainers' tests too. Two processes share the files out, which takes half of the time; ARGS="-n 0" is one.
test test-all: %: $(VENV)/%
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

# make package: sdist and wheel in dist/; then the wheel alone cuts a photo out, in an empty environment.
EMPTY = $(abspath $(VENV)-empty)
package: $(VENV)/package
	rm -rf dist
	$(BIN)/python -m build --outdir dist . >/dev/null
	$(PYTHON) -m venv --clear $(EMPTY)
	$(EMPTY)/bin/python -m pip --disable-pip-version-check install --quiet dist/*.whl
	cd dist && $(EMPTY)/bin/wisp doctor && $(EMPTY)/bin/wispcut ../docs/images/hero.jpg -o cutout.png

lint: $(VENV)/test-all $(VENV)/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# make bench [MODEL=u2netp.onnx]: quality on the built-in set, then speed and memory, both beside the
# real rembg with the same stage 1; reports in report/. Last, the ratios in one table (a folder and servers too).
MODEL = pipeline/weights/coarse.onnx
REMBG = $(VENV)-rembg/bin/rembg
# rembg feeds one input, the bundled stage 1 has a second for hints.
PLAIN = report/plain.onnx
# Wisp as it comes, with its own stage 1 in 8 bits.
OWN = wisp:model=wisp
CUSTOM = -m u2net_custom -x {\"model_path\":\"$(PLAIN)\"} {in} {out}
bench: $(VENV)/eval $(VENV)/peers $(VENV)/serve $(REMBG)
	$(BIN)/python -m eval.plain $(MODEL) $(PLAIN)
	$(BIN)/wisp bench builtin --model $(MODEL) --table quality -o report/quality \
		--repeats 1 --methods coarse,wisp,rembg,rembg-matting,grabcut,guided
	U2NET_HOME=$(dir $(PLAIN)) $(BIN)/wisp bench builtin --model $(MODEL) --table speed -o report/speed \
		--size 1920x1080 --limit 3 --fresh --footprint --methods wisp,$(OWN),rembg,rembg-matting \
		--method-command 'wisp-cut=$(BIN)/wisp cut --model $(MODEL) {in} -o {out}' \
		--method-command 'wisp-own=$(BIN)/wisp cut {in} -o {out}' \
		--method-command 'rembg-i=$(REMBG) i $(CUSTOM)' \
		--method-command 'rembg-i-a=$(REMBG) i -a $(CUSTOM)'
	$(BIN)/python examples/ratios.py report/speed --rembg $(REMBG) --model $(MODEL)

# make serve: the web page and the API on http://localhost:8000.
serve: $(VENV)/serve
	$(BIN)/wisp serve

# make test-ray: a local Ray cluster of two nodes, one of which is lost. make test-spark: mapInPandas; needs Java 17.
# make test-clouds: gs:// and, where there is Azurite, az://. They are large: `make test` and `make test-all` skip them.
test-ray test-spark test-clouds: test-%: $(VENV)/test $(VENV)/%
	$(BIN)/python -m pytest tests/scale/test_$*.py $(ARGS)

# make soak [ARGS="--minutes 10"]: the service under attack, in one gigabyte, beside normal visitors.
soak: $(VENV)/test $(VENV)/serve
	$(BIN)/python examples/soak.py $(ARGS)

# make load [ARGS="--requests 200"]: load and memory of the service, beside the real rembg's server.
load: $(VENV)/test $(VENV)/serve $(REMBG)
	$(BIN)/python examples/load.py --rembg $(REMBG) $(ARGS)

# make lock: pin what the image is made of, by hash. make audit: its known vulnerabilities. make sbom: what it and its weights are
# made of, as CycloneDX, in sbom.json.
lock: $(VENV)/supply
	$(BIN)/uv pip compile setup.cfg --extra image --python-version 3.12 --python-platform x86_64-manylinux_2_28 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet \
		--upgrade -o requirements.lock
audit: $(VENV)/supply
	$(BIN)/pip-audit --strict --disable-pip --require-hashes -r requirements.lock
sbom: $(VENV)/supply
	$(BIN)/cyclonedx-py requirements requirements.lock --output-file $(VENV)/packages.json
	$(BIN)/python examples/sbom.py $(VENV)/packages.json -o sbom.json

clean:
	rm -rf $(VENV) $(VENV)-rembg $(EMPTY) demo report build dist sbom.json *.egg-info

# A stamp for each set of extras, made anew when the list of requirements changes.
$(VENV)/demo $(VENV)/package $(VENV)/supply $(VENV)/test $(VENV)/test-all $(VENV)/lint $(VENV)/eval $(VENV)/peers $(VENV)/serve $(VENV)/ray $(VENV)/spark $(VENV)/clouds: $(VENV)/%: setup.cfg | $(BIN)/python
	$(PIP) --editable '.[$*]'
	@touch $@

# rembg's command has an environment of its own: it pins packages that Wisp's page needs newer.
$(VENV)-rembg/bin/rembg:
	$(PYTHON) -m venv $(VENV)-rembg
	$(VENV)-rembg/bin/python -m pip --disable-pip-version-check install --quiet 'rembg[cpu,cli]'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

.PHONY: demo package lock audit sbom test test-all test-ray test-spark test-clouds lint bench serve soak load clean
