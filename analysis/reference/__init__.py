"""Finished runs for others: as one archive, and done again."""
