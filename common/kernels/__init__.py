"""Triton kernels, whatever they compute: how they are launched, and whether they are wanted.

`Launcher` calls a compiled kernel without what Triton does at each call; `use_kernels` turns all kernels of a process
on or off.
"""
