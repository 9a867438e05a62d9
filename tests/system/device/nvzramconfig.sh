#!/bin/sh
# Does what JetPack's script does (facts/jetson.md, section 5a), in our words: a device for each core, half of the memory together.
set -e
cores=$(grep -c ^processor /proc/cpuinfo)
modprobe zram num_devices="$cores"
memory=$(awk '/^MemTotal/ { print $2 }' /proc/meminfo)
mem=$(( (memory / 2 / cores) * 1024 ))
number=0
while [ "$number" -lt "$cores" ]; do
    # A kernel with zram built in begins with one device, and a container has no udev that would make the nodes.
    while [ ! -e "/sys/block/zram$number" ]; do cat /sys/class/zram-control/hot_add; done
    [ -b "/dev/zram$number" ] || mknod -m 660 "/dev/zram$number" b $(tr : ' ' < "/sys/block/zram$number/dev")
    echo "$mem" > "/sys/block/zram$number/disksize"
    mkswap "/dev/zram$number"
    swapon -p 5 "/dev/zram$number"
    number=$((number + 1))
done
