"""Augmentation and normalisation: uint8 clips (B, 3, T, h, w) in, normalised float clips out. It may import `common`.

The worker that reads a clip draws its parameters (params.py, or randaugment.py; numpy only). The device augments the
batch with them (augment.py). The operations are there twice: in PyTorch (plain.py, ops.py), and as Triton kernels for a
GPU (kernels.py), which are used where they give the same results (use.py). Both get their numbers from values.py, and
RandAugment's tables of levels from levels.py. Training uses Augment, which normalises too, at no extra cost, because
that is part of its last operation. Validation and prediction use Normalise (normalise.py), which takes no parameters.
"""
