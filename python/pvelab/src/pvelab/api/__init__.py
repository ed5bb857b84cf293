"""A Proxmox VE 9.2 API over HTTPS: the surface, its rules and its words; guests are made by a backend."""
