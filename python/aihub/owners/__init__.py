"""One module for each owner of a kind of object: `look` gives its part of the plan, `apply` makes what was agreed true.

node      bridges, walls, names and time of the Proxmox host, and the API token
guests    what has a VMID
insides   users, files, units and stacks of the guests
vault     the store of the secrets and what it holds
secrets   the agents that bring entries of the store to the guests
services  databases, logins and models inside the services

`remove` is there where something outlives the guests. `hub` knows the order in which they work, `run` what they share.
"""
