"""What pruning costs and keeps: curves in one shot, latency targets, memory. `python -m bench.pruning`."""
