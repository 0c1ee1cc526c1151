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
REAL := checkpoints/demo/sample/real
TRAINED := $(D)/training/export/diffusion_pytorch_model.safetensors
SPOKEN := $(D)/talk.mp4 $(D)/face.mp4
FAST := num_inference_steps=8

demo: $(D)/contact_sheet.png $(D)/before_after.png $(SPOKEN)
	@cat $(D)/evaluation/results.md $(D)/real/results.md
	@echo
	@echo "a man who says another sentence     $(D)/talk.mp4"
	@echo "a photograph that speaks            $(D)/face.mp4"
	@echo "before and after, real people       $(D)/before_after.png"
	@echo "mouths in motion                    $(D)/real/mouths.png"
	@echo "drawn heads of the evaluation       $(D)/contact_sheet.png"
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
	$(PY) -m eval.lip_sync weights=$(D)/training/export output=$(D)/evaluation num_identities=3 seconds=1.92 $(FAST)

$(D)/contact_sheet.png: $(D)/evaluation/results.json
	$(PY) -m eval.contact_sheet input=$(D)/evaluation/clips output=$@

# Two clips of a real man, each with the other's words (GRID, see the README beside them).
$(D)/real/results.json: | weights
	$(PY) -m eval.lip_sync clips=$(REAL) output=$(D)/real protocols=[cross] tracks=$(D)/tracks $(FAST)

$(D)/before_after.png: $(D)/real/results.json
	$(PY) -m eval.contact_sheet input=$(D)/real/clips output=$@ people=1

$(D)/talk.mp4: | weights
	$(PY) infer.py input=$(REAL)/man_reads.mkv audio=$(REAL)/man_reads_another.mkv output=$@ $(FAST)

$(D)/face.mp4: | weights
	$(PY) infer.py input=$(REAL)/still.png audio=$(REAL)/man_reads_another.mkv output=$@ $(FAST)

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
