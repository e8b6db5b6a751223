"""Runs and pictures on their way to Weights & Biases: upload, workspace, pictures of filters."""
