"""How fast: layers, training steps, data, start-up; each figure with its machine, its spread and the commit."""
