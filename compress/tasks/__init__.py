"""Tasks: one file, one task: its columns, model head, decision, loss and default metrics."""
