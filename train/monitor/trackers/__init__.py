"""Reports of the Trainer -> Weights & Biases or MLflow, with --track.

`choice` makes the callback `tracker.Tracker`, which hands reports to `wandb_run` or `mlflow_run` in its own
thread. The packages of the trackers are imported only when one is asked for.
"""
