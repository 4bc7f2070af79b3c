"""One file, one metric of quality; the file's name is what recipes and `run.json` call it."""
