"""Measuring: quality with its uncertainty, size and speed of models, and the `run.json` that keeps what was found."""
