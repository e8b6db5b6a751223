"""Configs: composed, checked against every target before any work, explained in one line where they are wrong."""
