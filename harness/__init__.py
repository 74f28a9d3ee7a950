"""The machine: command line, plan, distillation, probes, features and counting."""
