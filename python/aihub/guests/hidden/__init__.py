"""What leaves a guest without the values of its secrets: a part of the programs that tell what was printed there."""
