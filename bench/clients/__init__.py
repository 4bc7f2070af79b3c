"""Others' loaders: our exported folders, read as their documentation says by programs that know nothing of us."""
