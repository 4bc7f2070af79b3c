"""Runs shown to people: Markdown tables, SVG charts, an HTML page and a model card, all pure functions of `Run`s."""
