"""Importance criteria: one file, one criterion; the file's name is what a recipe calls it."""
