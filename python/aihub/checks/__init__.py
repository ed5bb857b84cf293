"""What must be true of a running hub: read-only tests of guests, instances, zones and the node."""
