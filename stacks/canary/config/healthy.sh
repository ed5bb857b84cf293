#!/bin/sh
# Well, once it got in, unless a login was refused within the last minute or no login was tried for half a minute.
read -r works refused silent last tried < /run/canary/count || exit 1
now=$(date +%s)
[ "$works" -gt 0 ] && [ $((now - last)) -ge 60 ] && [ $((now - tried)) -lt 30 ]
