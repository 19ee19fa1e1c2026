"""`python -m evaluate.report RUN`: a run as one HTML page that needs nothing else.

`run_files` and `evaluation_files` read what a run's folder holds, `charts` and `filmstrips` draw, the modules `*_parts`
put these into sections, and `page` puts the sections together. What cannot be read costs its section, and is said.
"""
