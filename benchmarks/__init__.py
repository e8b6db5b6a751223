"""How fast: training steps, start-up; each figure with its machine, its spread and the commit."""
