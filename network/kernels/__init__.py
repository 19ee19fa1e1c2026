"""Kernels in Triton for GPUs, each in place of plain operations beside it, which the tests compare it with.

In and out: tensors on a CUDA device. Imported only where they are used, since Triton comes with PyTorch for CUDA alone.
"""
