"""The stage store: entries that are whole or not there, locks, limits, and what a disk refuses."""
