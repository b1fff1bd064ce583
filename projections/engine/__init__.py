"""The projection engine: views, runner, checkpoints, rebuild."""
