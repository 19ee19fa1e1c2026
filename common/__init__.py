"""What every package needs: errors, command lines, files, memory, processes and ranks.

Takes and gives plain values. Imports no other package of the project.
"""
