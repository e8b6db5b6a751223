"""Runs become figures here: curves, accuracy against cost, paired differences, a before/after pair."""
