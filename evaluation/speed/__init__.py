"""How fast targets are: timing, its noise, load time, memory and energy."""
