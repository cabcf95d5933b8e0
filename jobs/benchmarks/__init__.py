"""What `jobs/benchmark.py` runs: contenders, timing, and one module for each of its commands."""
