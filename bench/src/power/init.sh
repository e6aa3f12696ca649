#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# The guest's first program: network, disk, broker; then it does what the second serial line says, and tells there what happened.
# Settings of the broker come from the kernel's command line, whose NAME=VALUE words are this program's environment.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
for module in /modules/*.ko; do insmod "$module"; done
exec 3<>/dev/ttyS1
stty -F /dev/ttyS1 raw -echo
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
if ! mount -t ext4 /dev/vda /data; then
    echo "failed: the file system cannot be mounted" >&3
    exec sleep 3600
fi

serve() {
    {
        # The ready line goes to the host as it is. Nobody but the host reaches the address.
        polylog serve --data-dir /data/polylog --kafka 10.0.2.15:9092 --insecure-allow-anonymous \
            --http 127.0.0.1:0 --ready-json 3 </dev/null >/dev/console 2>&1 &
        echo $! >/broker
        wait $!
        echo "ended $?" >&3
    } &
}

serve
while read -r order <&3; do
    case $order in
        kill)
            kill -9 "$(cat /broker)"
            ;;
        serve) serve ;;
    esac
done
