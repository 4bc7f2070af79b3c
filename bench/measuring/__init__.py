"""What a figure of speed or quality is worth: the measuring itself, measured. `python -m bench.measuring`."""
