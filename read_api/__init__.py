"""Queries over HTTP, one module per context."""
