"""The results of an evaluation: predictions, scores with intervals, tables, pictures, and the folder that holds them.

Takes the rows of an evaluation; gives files and lines for the console.
"""
