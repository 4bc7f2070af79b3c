"""One file, one way to run a model; and `timing`, which times several of them fairly in one sitting."""
