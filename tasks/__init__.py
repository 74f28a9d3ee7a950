"""The exam: task declarations, corpus readers, the mini suite, probe heads and metrics."""
