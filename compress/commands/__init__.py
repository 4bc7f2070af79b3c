"""What the commands do, one file each. Only these files see every part of the program."""
