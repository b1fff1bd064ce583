"""The composition root: settings, wiring, embedded services, supervision, CLI."""
