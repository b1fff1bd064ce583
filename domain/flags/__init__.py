"""Feature flags: who gets to see what is being tried out."""
