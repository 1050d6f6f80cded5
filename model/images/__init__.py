"""Image files and pixels: safe decoding to upright 8-bit RGB.  No torch."""
