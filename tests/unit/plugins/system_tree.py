"""A small host as a tree of files: /proc, /sys and /etc, with commands that act on the tree where the real ones would act on this machine.

Units are enabled and disabled by the real systemctl in the tree. What swaps and zram really do is tested on real ones in tests/system.
"""

import os
import pathlib
import shutil
import stat

SWAPS = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"

COMMANDS = {
    "systemctl": """#!/bin/sh
root={root}
verb=$1; shift
case $verb in
    cat) test -e "$root/etc/systemd/system/$1" ;;
    is-enabled|enable|disable) exec {systemctl} --quiet --root="$root" "$verb" "$@" ;;
    stop|daemon-reload) ;;
    restart)
        # What the unit makes of its file, the expression in JetPack's script included.
        case $1 in
            nvzramconfig.service) count=2; eval "$(grep '^mem=' "$root/etc/systemd/nvzramconfig.sh" | sed 's/grep -c ^processor [^)]*/echo 2/')"; priority=5 ;;
            zramswap.service) count=1; . "$root/etc/default/zramswap"; mem=$((SIZE * 1048576)); priority=100 ;;
            dev-zram0.swap)
                size=$(sed -n 's/^zram-size = //p' "$root/etc/systemd/zram-generator.conf")
                count=1; mem=$((${size:-2048} * 1048576)); priority=100 ;;
        esac
        number=0
        while [ $number -lt $count ]; do
            echo "$mem" > "$root/sys/block/zram$number/disksize"
            printf '/dev/zram%s partition\\t%s\\t0\\t%s\\n' $number $((mem / 1024 - 4)) $priority >> "$root/proc/swaps"
            number=$((number + 1))
        done ;;
esac
""",
    "swapoff": "#!/bin/sh\nsed -i \"\\\\|^$1 |d; \\\\|^$1\t|d\" {root}/proc/swaps\n",
    "swapon": """#!/bin/sh
priority=-2
if [ "$1" = --priority ]; then priority=$2; shift 2; fi
printf '%s file\\t%s\\t0\\t%s\\n' "$1" $(($(stat -c %s "$1") / 1024 - 4)) $priority >> {root}/proc/swaps
""",
    "modprobe": "#!/bin/sh\nexit 1\n",
    "dpkg-query": "#!/bin/sh\nfor package; do :; done\ntest -e {root}/packages/$package && printf 'install ok installed'\n",
}


class Tree:
    """The host.

    :param root: an empty directory.
    :param disk: type of the file system that ``root`` counts as.
    """

    def __init__(self, root, disk="ext4", total_mib=4096, available_mib=3000):
        self.root = root
        for name in ("proc", "sys/block/zram0", "sys/block/zram1", "etc/systemd/system", "etc/default", "packages", "bin", "disk", "dev"):
            (root / name).mkdir(parents=True)
        self.memory(total_mib, available_mib)
        (root / "proc/swaps").write_text(SWAPS)
        self.mount(disk)
        for number in (0, 1):
            (root / f"sys/block/zram{number}/disksize").write_text("0\n")
        for name, text in COMMANDS.items():
            path = root / "bin" / name
            path.write_text(text.replace("{root}", str(root)).replace("{systemctl}", shutil.which("systemctl") or "systemctl"))
            path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def memory(self, total_mib, available_mib):
        (self.root / "proc/meminfo").write_text(f"MemTotal: {total_mib * 1024} kB\nMemFree: 1 kB\nMemAvailable: {available_mib * 1024} kB\n")

    def mount(self, disk, options="rw,relatime"):
        (self.root / "proc/mounts").write_text(f"overlay / overlay rw 0 0\n/dev/sda1 {self.root} {disk} {options} 0 0\n")

    @property
    def path(self):
        return f"{self.root}/bin:{os.environ['PATH']}"

    @property
    def roots(self):
        return {"proc_root": f"{self.root}/proc", "etc_root": f"{self.root}/etc", "record_dir": f"{self.root}/originals"}

    @property
    def records(self):
        folder = self.root / "originals"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def swaps(self):
        return [line.split()[0] for line in (self.root / "proc/swaps").read_text().splitlines()[1:]]

    def zram_bytes(self):
        active = [pathlib.PurePath(path).name for path in self.swaps() if path.startswith("/dev/zram")]
        return sum(int((self.root / f"sys/block/{name}/disksize").read_text()) for name in active)

    def use(self, path, used_mib):
        """Have ``used_mib`` in the swap area ``path``."""
        lines = (self.root / "proc/swaps").read_text().splitlines()
        changed = [line if line.split()[0] != path else "\t".join([*line.split()[:3], str(used_mib * 1024), line.split()[4]]) for line in lines]
        (self.root / "proc/swaps").write_text("\n".join(changed) + "\n")
