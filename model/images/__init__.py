"""Image files and pixels: safe decoding into upright 8-bit RGB.  No torch."""
