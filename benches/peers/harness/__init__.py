"""The parts of `run.py`: workloads, models, engines, timing and the report."""
