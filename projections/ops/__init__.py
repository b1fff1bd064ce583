"""Views for operators."""
