"""Readers of the official corpora, each in the layout users have on disk (superb-protocol 3)."""
