"""What was measured, on paper: timings, their JSON files, tables and goals."""
