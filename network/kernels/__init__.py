"""Fused operations of a training step on a GPU, written in Triton, for activations in channels_last_3d.

Each has a plain formulation in PyTorch next to its caller, which the CPU, other layouts and exports use.
"""
