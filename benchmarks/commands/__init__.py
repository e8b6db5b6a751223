"""What can be asked for: `python -m benchmarks COMMAND`, one file each."""
