"""Registries of models: folders with versions and aliases, on file systems and object stores."""
