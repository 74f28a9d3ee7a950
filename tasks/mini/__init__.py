"""The mini suite: synthetic speech laid out on disk as the official corpora are."""
