"""Implementations of the ports: event store, databases, HTTP conventions."""
