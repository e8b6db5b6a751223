"""Figures of runs: curves, accuracy against cost, paired differences, a before/after pair, each with its caption."""
