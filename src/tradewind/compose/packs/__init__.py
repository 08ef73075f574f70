"""Rule packs and component libraries, as data."""
