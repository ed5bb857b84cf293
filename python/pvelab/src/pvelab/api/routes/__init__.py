"""The endpoints, one module per part of the tree; importing a module registers its routes."""
