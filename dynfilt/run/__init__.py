"""One run on disk: its folder and lock, identity, provenance, plan, continuation, progress."""
