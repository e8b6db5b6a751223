"""Importing this keeps signals that are meant for jobs from the server that forks them.

The server imports it first. A terminal that closes signals a whole process group, and Slurm every process of an
allocation; that would end the server, and a pool without it takes its jobs for dead. Jobs have their own handlers.
"""

import os
import signal

from dynfilt.run.stopping import STOP_SIGNALS

os.setpgid(0, 0)
for number in STOP_SIGNALS:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)  # the pool kept them away until here
