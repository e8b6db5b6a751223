"""Importing this takes a process out of its parent's process group.

The server that forks jobs imports it first: a terminal that closes, and Slurm, signal a whole group, which would end
the server, and a pool without it takes its jobs for dead.
"""

import os

os.setpgid(0, 0)
