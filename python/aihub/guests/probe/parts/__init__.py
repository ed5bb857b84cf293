"""Parts of the program that runs on guests, sent with it: standard library and ASCII only."""
