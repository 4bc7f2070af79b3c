"""Runs that are done, compared with each other."""
