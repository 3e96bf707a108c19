# Each command does everything on a fresh machine: make demo, make test.
PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
READY := $(VENV)/.ready
GENERATOR := weights/ffhq-mobile.safetensors

.PHONY: demo test test-fast test-times quality bench gpu lint format clean

demo: $(READY) $(GENERATOR)
	$(BIN)/python -m pulse_core upscale samples/eileen_collins_32x32.png -o out/demo --side-by-side --report out/demo/report.json

test: $(READY) $(GENERATOR)
	$(BIN)/python -m pytest $(ARGS)

# Without the tests that are slow by measurement (tests/tiers.py), for the daily loop. Tensors are so small that threads
# would only wait for each other.
test-fast: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not slow" $(ARGS)

# Measures all tests, and writes which are slow.
test-times: $(READY) $(GENERATOR)
	$(BIN)/python -m pytest -q --times $(ARGS)

# Scores the faces: hours for everything, minutes with ARGS=--quick. What was scored before is not repeated.
quality: $(READY) $(GENERATOR)
	$(BIN)/python -m bench.quality $(ARGS)

# Times the search: half an hour for everything, minutes with ARGS=--quick.
bench: $(READY) $(GENERATOR)
	$(BIN)/python -m bench.speed $(ARGS)

# All that a card has to say, in some minutes. Needs no .venv: PYTHON is one with torch for that card (a GPU, MPS).
gpu:
	$(PYTHON) -m bench.speed --gpu $(ARGS)

# The type checker sees the pack under an importable name, whatever its folder is called.
lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p out/lint && ln -sfn ../.. out/lint/pulse_pack
	cd out/lint && ../../$(BIN)/mypy --config-file pulse_pack/pyproject.toml --cache-dir ../../.mypy_cache -p pulse_pack.pulse_core -p pulse_pack.nodes -p pulse_pack.bench

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(READY): requirements.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -c "open('$(READY)', 'w').close()"

$(GENERATOR): weights/catalogue.json | $(READY)
	$(BIN)/python -m pulse_core fetch ffhq-mobile
	touch $(GENERATOR)

clean:
	rm -rf $(VENV) out .pytest_cache .mypy_cache .ruff_cache
