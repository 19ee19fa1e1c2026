"""Videos without labels -> classes: what `python -m evaluate.predict` is made of.

Finds videos, reads their clips in worker processes, scores them, and writes tables and an annotated video. A camera is
read in this process.
"""
