"""One file per offer kind."""
