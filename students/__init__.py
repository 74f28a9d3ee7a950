"""The networks: encoder blocks, presets, teachers and upstream adapters, objectives, checkpoints."""
