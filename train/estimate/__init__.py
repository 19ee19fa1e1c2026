"""What a training run will take, measured in minutes before it starts: `python -m train.estimate SCRIPT.py ...flags`.

set_up.py makes the run's own loader, network and Trainer from the script's flags. meter.py measures with them, and
costs.py makes hours of it. advice.py says what limits the run and what would change that, table.py prints.
"""
