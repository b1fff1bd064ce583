"""Read models: one view per file, and the engine that keeps them."""
