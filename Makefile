# `make demo` and `make test` do all the set-up by themselves; `make env` does the set-up alone.
PYTHON ?= python3
PY := .venv/bin/python
export TOKENIZERS_PARALLELISM := false

# A file of a step that failed does not count as made.
.DELETE_ON_ERROR:
# Nor are the steps between thrown away.
.SECONDARY:

.PHONY: env weights demo test mutants lint bench clean

env: .venv/ready

.venv/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("error: Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; run: make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	@if command -v uv >/dev/null 2>&1; then uv pip install --python $(PY) -e '.[dev]'; \
	else $(PY) -m pip install --disable-pip-version-check -e '.[dev]'; fi
	@touch $@

weights: env
	@$(PY) -m latentsync.weights fetch face-landmarker lpips-vgg16 demo

# The demo: every step is a command that can be typed alone. What is there already is kept; `rm -r runs/demo` starts anew.
D := runs/demo
TRAINED := $(D)/training/export/diffusion_pytorch_model.safetensors
SPOKEN := $(D)/talk.mp4 $(D)/face.mp4

demo: $(D)/contact_sheet.png $(SPOKEN)
	@cat $(D)/evaluation/results.md
	@echo
	@echo "a clip that speaks another's words  $(D)/talk.mp4"
	@echo "a picture that speaks               $(D)/face.mp4"
	@echo "videos of the evaluation            $(D)/evaluation/clips"
	@echo "contact sheet                       $(D)/contact_sheet.png"
	@echo "loss plot                           $(D)/training/losses.png"

$(D)/clips/train.done: | weights
	$(PY) -m data_prep.synthesize output=$(D)/clips/train num_clips=24 seed=1 resume=true
	@touch $@

$(D)/clips/val.done: | weights
	$(PY) -m data_prep.synthesize output=$(D)/clips/val num_clips=4 seed=1 split=held_out resume=true
	@touch $@

$(D)/shards/%.done: $(D)/clips/%.done
	$(PY) -m data_prep.precompute input=$(D)/clips/$* output=$(D)/shards/$* audio_encoder=demo resume=true
	@touch $@

$(TRAINED): $(D)/shards/train.done $(D)/shards/val.done
	$(PY) train.py experiment=demo resume=$(if $(wildcard $(D)/training/checkpoints/last.ckpt),last,null)

$(D)/evaluation/results.json: $(TRAINED)
	$(PY) -m eval.lip_sync weights=$(D)/training/export output=$(D)/evaluation num_identities=3 seconds=1.92

$(D)/contact_sheet.png: $(D)/evaluation/results.json
	$(PY) -m eval.contact_sheet input=$(D)/evaluation/clips output=$@

$(D)/sample/face.png: | weights
	$(PY) -m data_prep.sample output=$(D)/sample picture=true

$(D)/talk.mp4: $(D)/sample/face.png
	$(PY) infer.py input=$(D)/sample/talk.mp4 audio=$(D)/sample/speech.wav faces=$(D)/sample/talk.json output=$@ seed=5

$(D)/face.mp4: $(D)/sample/face.png
	$(PY) infer.py input=$(D)/sample/face.png audio=$(D)/sample/speech.wav faces=$(D)/sample/talk.json output=$@ seed=5

test: weights
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile --max-worker-restart=0

# Ours beside a plain script around diffusers, in pairs; fails where a ratio is over 15 % worse than the committed one.
bench: weights
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.side_by_side 5 check

# Changes planted in the code, one at a time, and whether a test notices: docs/testing.md. Hours; not part of `test`.
mutants: weights
	@$(PY) -c 'import cosmic_ray' 2>/dev/null || \
	if command -v uv >/dev/null 2>&1; then uv pip install --python $(PY) -e '.[mutants]'; else $(PY) -m pip install -e '.[mutants]'; fi
	$(PY) tests/mutants.py $(MUTANTS)

lint: env
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

clean:
	rm -rf runs outputs .pytest_cache .ruff_cache .mypy_cache
