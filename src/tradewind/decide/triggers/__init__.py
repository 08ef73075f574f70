"""What may start a message: one file per kind of trigger, found by its name."""
