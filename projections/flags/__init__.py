"""Views of feature flags."""
