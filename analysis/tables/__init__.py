"""How a comparison is printed: one file a format, all from the same grids."""
