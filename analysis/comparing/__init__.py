"""Runs become variants that are compared with a baseline and a control: statistics, claims, verdicts, caveats."""
