"""Commands over HTTP, one module per context."""
