"""A synthetic shop with known truth. Everything that comes out of it is simulated, and says so."""
