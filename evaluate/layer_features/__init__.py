"""What a layer of a network computes for videos: `python -m evaluate.features` is made of it.

Takes a network and videos; gives arrays in a folder, and the scores of nearest neighbours.
"""
