"""How large targets are, and what a call takes."""
