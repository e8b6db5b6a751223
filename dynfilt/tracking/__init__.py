"""The numbers of a run, mirrored to Weights & Biases."""
