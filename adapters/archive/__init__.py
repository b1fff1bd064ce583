"""The portable archive of an event store."""
