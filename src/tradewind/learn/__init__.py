"""Profiles, features and models: one file per model, named as users type it."""
