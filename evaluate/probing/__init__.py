"""Evaluations of changed videos beside that of the videos as they are: what a network depends on.

Takes a trained file and videos; gives what each change costs, as tables and entries of an evaluation's folder.
"""
