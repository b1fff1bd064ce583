"""The export of everything about a person: sources, the file that they fill, and the work."""
