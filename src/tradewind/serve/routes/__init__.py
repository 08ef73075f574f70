"""The routes of the service, one file per topic, each with a ``router``: found by their names, nobody keeps a list."""

from pkgutil import iter_modules

TOPICS = tuple(sorted(module.name for module in iter_modules(__path__)))
