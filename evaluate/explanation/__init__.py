"""What a network looks at in a clip: `python -m evaluate.explain` is made of it.

Takes a network and a clip; gives heat, recursion strengths and gates, and their picture or film.
"""
