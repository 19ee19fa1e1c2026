"""Reports of the Trainer -> log lines, score files, TensorBoard, trackers, curves.

Callbacks get frozen reports and cannot change a run. May import evaluate's scores and common.
"""
