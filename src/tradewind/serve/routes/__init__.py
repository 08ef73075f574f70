"""The routes of the service, one file per topic, each with a ``router``."""

TOPICS = (
    "health",
    "session",
    "access",
)
