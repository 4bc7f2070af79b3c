"""Training: the one loop, its checkpoints, losses and schedules, and the judge on dev."""
