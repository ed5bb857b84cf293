"""The lab's real part: one network namespace with a node, bridges and guests that are system containers.

Where one lab keeps what (`lab.Lab` names every path):

- `/run/netns/pvelab-NAME`, `/run/pvelab/NAME`: namespace, pids, sockets; gone after `pvelab down`.
- `/var/lib/pvelab/NAME`: the API's state, root file systems of node, guests and helpers, snapshots, logs, the
  password of root@pam. `pvelab down` keeps it and `pvelab up` goes on from there; `pvelab down --purge` removes it.
- `$PVELAB_CACHE` (default `/var/cache/pvelab`), shared by all labs: the lab CA, and what was made once for all of
  them (`artifacts`): root file systems and the images of the registries, at most 20 GiB of those that no lab here
  uses. It may be deleted while no lab is up; it is then made again.

While a lab is up, inotify's limits are those of a Proxmox VE node, and its node may set those of keys and of memory
(`hostlimits`); the last `pvelab down` puts them back.
Nothing of the host's own network is changed: the way out is slirp4netns, a process that opens ordinary sockets.
Every lxc command runs inside the lab's namespaces (`namespace.inside` says why), and so does the daemon (`server`).
"""
