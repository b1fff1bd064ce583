"""Command structs and their handlers: load, decide, save; one module per context."""
