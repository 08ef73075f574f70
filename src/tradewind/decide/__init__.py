"""Who gets which offer on which channel, within budget, or nothing; every choice logged with its propensity."""
