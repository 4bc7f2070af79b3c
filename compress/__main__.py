"""`python -m compress`."""

from compress.cli import main

if __name__ == "__main__":  # a sweep's child processes import this file again
    main()
