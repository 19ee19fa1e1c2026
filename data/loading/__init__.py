"""Clips to batches: ClipRequests in, uint8 batches (B, 3, T, h, w) on the device out.

loader.py reads batches with worker processes into batch_memory.py; prefetch.py copies them to the device. It may
import data.clips and `common`.
"""
