"""Tools for building the package; they are not part of it."""
