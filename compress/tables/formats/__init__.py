"""One file, one way that a table is written: `read` gives the columns that are wanted of it."""
