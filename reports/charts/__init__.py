"""Charts as Vega-Lite specs, one a file: plain values go in, a dict comes out that page and SVG file are made from."""
