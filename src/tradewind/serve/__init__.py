"""What a shop serves over HTTP: the public pages on which people speak for themselves."""
