"""Runs as Weights & Biases keeps them, in offline logs or on its server, and the upload from one to the other."""
