"""Training: settings, steps, evaluation, checkpoints; knows neither configuration files nor tracking."""
