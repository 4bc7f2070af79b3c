"""Stages: one file, one stage; the file's name is what a recipe calls it."""
