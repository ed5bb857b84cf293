"""The Proxmox node, made as a hub wants it: pyinfra deploys, run as a subprocess, as root over ssh."""
