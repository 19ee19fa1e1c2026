"""Fused operations of a training step on a GPU, written in Triton, for clips in channels_last_3d.

Each has a plain formulation in PyTorch beside its caller, which the CPU, other layouts and exports use, and which the
tests compare it with. Imported only where they are used, since Triton comes with PyTorch for CUDA alone.
"""
