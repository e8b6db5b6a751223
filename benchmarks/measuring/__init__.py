"""How time and memory are measured: candidates in turn, arms of training in processes, and the public forms."""
