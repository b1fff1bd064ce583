"""Events as they happen, handed to those whose they are."""
