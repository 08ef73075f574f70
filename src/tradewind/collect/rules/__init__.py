"""One file per quality rule."""
