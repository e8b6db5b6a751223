"""Many runs at once: the jobs of a sweep, a pool of processes for them, and what came of each."""
