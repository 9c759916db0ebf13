#!/busybox sh
# The first program of the guest. It mounts the files of the host, read-only by 9p, on /root, with an overlay in memory
# for all writes, and starts the agent there.
export PATH=/bin
/busybox mkdir -p /bin /proc /dev /host /memory /root
/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in /modules/*; do insmod "$module" || echo "cannot load $module"; done

mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 host /host
mount -t tmpfs memory /memory
mkdir /memory/upper /memory/work
mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work root /root

mount -t proc proc /root/proc
mount -t sysfs sys /root/sys
mount -t devtmpfs dev /root/dev
mkdir -p /root/dev/pts /root/dev/shm
ln -s /proc/self/fd /root/dev/fd
ln -s /proc/self/fd/0 /root/dev/stdin
mount -t devpts devpts /root/dev/pts
mount -t tmpfs shm /root/dev/shm
mount -t tmpfs run /root/run
mkdir -p /root/run/lock /root/run/exchange /root/run/guest/bin
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 exchange /root/run/exchange
cp -r /modules /root/run/guest
cp /agent /root/run/guest/agent
cp /busybox /root/run/guest/bin
for tool in insmod rmmod; do ln -s busybox "/root/run/guest/bin/$tool"; done
exec switch_root /root /bin/sh /run/guest/agent
