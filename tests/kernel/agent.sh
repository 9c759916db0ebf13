#!/bin/sh
# The agent: receives a number on the second serial line, runs the script of that number in the exchange folder, and
# sends the number with the script's exit status back. "halt" shuts the guest down.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/guest/bin
ip link set lo up
stty -F /dev/ttyS1 raw -echo
exec <>/dev/ttyS1 >&0
echo ready
while read -r number; do
    if [ "$number" = halt ]; then break; fi
    sh "/run/exchange/$number.sh" </dev/null >"/run/exchange/$number.out" 2>&1
    echo "$number $?"
done
echo o >/proc/sysrq-trigger
sleep 60
