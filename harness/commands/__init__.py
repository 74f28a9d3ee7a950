"""The commands of `harness`, by what they are about."""
