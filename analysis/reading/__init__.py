"""Runs as they were recorded, in one form from every source: run folders, W&B's offline logs, a W&B server."""
