"""Tables in, one self-contained page out."""
