"""The networks that host a filter, built from plain arguments."""
