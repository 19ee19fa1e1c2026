"""Options and a number of videos -> the shape, batch, learning rate and clips of every step.

Pure functions of epoch and step, the same on every rank. `python -m train.schedule` prints the schedule. May import the
types of data.clips, and common.
"""
