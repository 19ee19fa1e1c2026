# Everything sets itself up: `make demo` and `make test` need Python 3.10 or newer, git and make, nothing else.
PYTHON ?= python3
BIN := .venv/bin
DEMO := demo

# Found to reach 90 % whatever the seed, in a few minutes on four cores.
DEMO_TRAIN := $(BIN)/python train_custom.py --dataset $(DEMO) --model-dir $(DEMO)/results --network srtg_r3d_10 \
	--clip-length 8 --clip-size 44 --train-frame-interval 4 --val-frame-interval 4 --batch-size 32 \
	--lr-base 0.1 --warmup-epochs 1 --lr-steps 6 8

.PHONY: help setup demo test test-slow test-gpu test-kernels lint format bench gpu clean

help:  ## list what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: .venv/installed  ## create .venv with the pinned dependencies

.venv/installed: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 10) else "Python 3.10 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements-dev.txt
	@touch $@

demo: setup  ## make videos, convert them, train on them, resume, show the curves: about two minutes on two cores
	rm -rf $(DEMO)
	$(BIN)/python -m data.prepare.synthetic $(DEMO) --videos 576 --val-videos 96 --size 48x48
	$(BIN)/python -m data.prepare.convert $(DEMO)/videos $(DEMO)
	$(BIN)/python -m data.prepare.verify $(DEMO)
	$(DEMO_TRAIN) --end-epoch 4
	$(DEMO_TRAIN) --end-epoch 9 --resume-epoch auto
	$(BIN)/python -m train.plot_scores $(DEMO)/results/srtg_r3d_10_gates_False --output $(DEMO)/curves.png

test: setup  ## the fast tests: a quarter of an hour on two cores
	$(BIN)/python -m pytest -n 2

test-slow: setup  ## the long tests: kills, fuzzing, several machines
	$(BIN)/python -m pytest -m slow --timeout 3600

test-gpu: setup  ## the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

# Triton lies apart, so that nothing else finds it: PyTorch for the CPU comes without.
TRITON := .venv/triton
OF_AUGMENTATION := tests/data/augment/test_kernels.py tests/data/augment/test_use.py

test-kernels: setup  ## the fused operations without a GPU: in Triton's interpreter, and compiled for an H100; Linux on x86-64
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --upgrade --target $(TRITON) triton==3.6.0
	TRITON_INTERPRET=1 PYTHONPATH=$(TRITON) $(BIN)/python -m pytest tests/network/kernels tests/network/test_self_check.py $(OF_AUGMENTATION)
	PYTHONPATH=$(TRITON) $(BIN)/python -m pytest tests/network/kernels $(OF_AUGMENTATION)

lint: setup  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## let ruff fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup  ## measure this machine: reading, augmenting, networks, the cost of watching a run
	$(BIN)/python -m benchmarks.loading
	$(BIN)/python -m benchmarks.batches
	$(BIN)/python -m benchmarks.index --rows 200000
	$(BIN)/python -m benchmarks.augment
	$(BIN)/python -m benchmarks.networks --networks 'srtg_*_[13][048]' --clip 8x56x56 --batch 4 --repeats 3
	$(BIN)/python -m benchmarks.callbacks

gpu: setup  ## test and measure on a GPU, in eight minutes: results in results/gpu
	$(BIN)/python -m benchmarks.gpu --minutes 8 --output results/gpu

clean:  ## remove the demo and the caches, not .venv
	rm -rf $(DEMO) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
