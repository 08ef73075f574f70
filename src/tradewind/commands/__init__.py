"""The commands: one file per verb or topic; ``cli`` lists them."""
