"""Runs become tables here: `python -m analysis table SOURCE...`; imports dynfilt, never the reverse."""
