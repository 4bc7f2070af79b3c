"""How good targets are, and what broke."""
