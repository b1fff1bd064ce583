"""A person's diary: one entry for each day."""
