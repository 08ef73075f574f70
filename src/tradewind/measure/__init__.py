"""What it earned, how sure we are, and why."""
