"""What the product is measured against, each as its own documentation would have it."""
