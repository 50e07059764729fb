# make demo: set up and show the whole path. make test: the tests. make help: the rest.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check -q
UV := $(VENV)/bin/uv pip install -q --python $(VENV)/bin/python
CODE := server backends model_repository inprocess client gateway archive export training benchmarks examples tests
STEPS := $(dir $(wildcard model_repository/*/1/model.py))  # each has modules of its own

.PHONY: help demo serve test programs lint format train-captcha train-detector compare-detectors \
	bench bench-ui bench-check clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/' | column -t -s:

demo: $(VENV)/serve  ## start the server, find signatures and stamps, read CAPTCHAs, stop
	$(VENV)/bin/python -m examples.demo

serve: $(VENV)/serve  ## serve model_repository/ in the foreground (ports 8000 to 8002, 8080)
	@exec $(VENV)/bin/python -m server

test: $(VENV)/test programs  ## run the tests, against a real server
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not alone"  # they wait a lot
	$(VENV)/bin/python -m pytest -m alone tests/benchmarks tests/reliability

programs:  # that some tests run; who may not install them is told by the tests what is skipped
	@missing=$$(grep -v '^#' requirements/programs.txt | while read -r program package; do \
	  command -v "$$program" >/dev/null || echo "$$package"; done); \
	if [ "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  { apt-get update && apt-get install -y --no-install-recommends $$missing; } >/dev/null || \
	    echo "apt-get could not install" $$missing >&2; \
	fi

lint: $(VENV)/test  ## ruff and mypy
	$(VENV)/bin/ruff check $(CODE)
	$(VENV)/bin/ruff format --check $(CODE)
	$(VENV)/bin/mypy server inprocess backends client/countersign gateway archive export training benchmarks examples
	for step in $(STEPS); do MYPYPATH=$$step $(VENV)/bin/mypy $$step || exit 1; done

format: $(VENV)/test  ## let ruff rewrite the code
	$(VENV)/bin/ruff check --fix $(CODE)
	$(VENV)/bin/ruff format $(CODE)

train-captcha: $(VENV)/test  ## make CAPTCHA start weights and a reader from seeds
	training/captcha/weights.sh runs/captcha

REAL ?=
train-detector: $(VENV)/test  ## train the detector as its recipe says; REAL="folders of labelled pages"
	$(VENV)/bin/python -m training.detector.recipe training/detector/recipe.yaml \
	  $(addprefix --real ,$(REAL)) --out runs/detector

PAGES ?=
compare-detectors: $(VENV)/test  ## AP50 and recall against latency of all that a server has; PAGES=folder
	$(VENV)/bin/python -m benchmarks.accuracy.compare --pages $(PAGES) --out runs/compare

bench: $(VENV)/test  ## measure speed against limits and peers (26 minutes); CHECKPOINT=best.pt
	$(VENV)/bin/python -m benchmarks.speed.bench $(if $(CHECKPOINT),--checkpoint $(CHECKPOINT))

bench-ui: $(VENV)/test  ## load a running server (make serve) from locust's web page, port 8089
	$(VENV)/bin/python -m benchmarks.speed.make_corpus --out runs/corpus
	PYTHONPATH=. $(VENV)/bin/locust -f benchmarks/speed/locustfile.py --class-picker \
	  --host 127.0.0.1:8001 --web-host 127.0.0.1

bench-check: $(VENV)/test  ## has serving become slower than benchmarks/speed/baseline.json? (2 minutes)
	$(VENV)/bin/python -m benchmarks.speed.check

clean:  ## remove the environment and the demo's pictures
	rm -rf $(VENV) demo

$(VENV)/python: 
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 10) <= v <= (3, 12) and \
	  f"Python {v[0]}.{v[1]} at {sys.executable}: 3.10 to 3.12 is needed; make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/serve: requirements/serve.txt requirements/gateway.txt requirements/triton.txt \
	  client/pyproject.toml | $(VENV)/python
	$(PIP) install -r requirements/serve.txt -r requirements/gateway.txt -e './client[draw,pdf]'
	$(PIP) install --no-deps -r requirements/triton.txt
	ln -sf "$(CURDIR)/server/countersign-keys" "$(CURDIR)/server/countersign-rollout" $(VENV)/bin/
	@touch $@

# uv, since pip may pair torch and torchvision of different builds, and cannot override a dependency
$(VENV)/test: requirements/train.txt requirements/bench.txt requirements/test.txt \
	  requirements/archive.txt requirements/fonts.txt requirements/overrides.txt $(VENV)/serve
	$(PIP) install --no-deps -r requirements/fonts.txt
	$(PIP) install uv==0.13.8
	$(UV) --override requirements/overrides.txt \
	  -r requirements/serve.txt -r requirements/gateway.txt -r requirements/train.txt \
	  -r requirements/archive.txt -r requirements/bench.txt -r requirements/test.txt
	@touch $@
