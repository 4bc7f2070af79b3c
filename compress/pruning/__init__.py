"""Which units leave a model, so that a target is met at the least loss; and what makes up for them without training."""
