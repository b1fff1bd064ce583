"""Reactions and jobs: whatever sends, charges, calls or takes long."""
