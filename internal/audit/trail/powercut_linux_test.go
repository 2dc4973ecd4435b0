package trail_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// JT2 (I-02): the power goes under load, on a loop file system that is shut down without flushing its log, and comes
// back. SALLYPORT_POWERCUTS sets how often, SALLYPORT_POWERCUT_FS which file system (ext4 or xfs).
func TestJT2PowerCut(t *testing.T) {
	cuts := rounds(t, "SALLYPORT_POWERCUTS", 0)
	if cuts == 0 {
		t.Skip("needs root and a loop device: set SALLYPORT_POWERCUTS to the number of cuts")
	}
	dir := t.TempDir()
	image, mount := filepath.Join(dir, "disk.img"), filepath.Join(dir, "mnt")
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v: %s", name, args, err, out)
		}
	}
	kind := os.Getenv("SALLYPORT_POWERCUT_FS")
	if kind == "" {
		kind = "ext4"
	}
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 512<<20), os.Mkdir(mount, 0o700)); err != nil {
		t.Fatal(err)
	}
	run("mkfs."+kind, "-q", image)
	run("mount", "-o", "loop", image, mount)
	t.Cleanup(func() { exec.Command("umount", mount).Run() })

	c := &crashes{l: newLog(t), acked: map[uint64]string{}, cut: true}
	c.l.dir = filepath.Join(mount, "data")
	c.l.options.Dir, c.l.options.Logger = c.l.dir, nil
	for range cuts {
		down := make(chan error, 1)
		c.off.Store(false)
		c.round(t, 0, func(p *os.Process) {
			time.AfterFunc(time.Duration(20_000+rand.IntN(150_000))*time.Microsecond, func() {
				// With the power gone no acknowledgement would arrive. Here one still can, from an fsync that the
				// kernel ends without an error while it shuts the file system down.
				c.off.Store(true)
				down <- shutdown(mount)
				p.Kill()
			})
		})
		if err := <-down; err != nil {
			t.Fatal(err)
		}
		for tries := 0; exec.Command("umount", mount).Run() != nil; tries++ { // busy until the kernel is done with the child
			if tries == 200 {
				t.Fatalf("umount %s: busy", mount)
			}
			time.Sleep(10 * time.Millisecond)
		}
		run("mount", "-o", "loop", image, mount)
		c.check(t)
	}
	t.Logf("%d power cuts on %s, %d records acknowledged, none lost", cuts, kind, len(c.acked))
}

// shutdown stops a file system at once, losing what it has not written: the ioctl behind xfs_io's shutdown command.
func shutdown(mount string) error {
	f, err := os.Open(mount)
	if err != nil {
		return err
	}
	defer f.Close()
	const goingDown = 0x8004587d // _IOR('X', 125, __u32)
	noLogFlush := uint32(2)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), goingDown, uintptr(unsafe.Pointer(&noLogFlush))); errno != 0 {
		return errno
	}
	return nil
}
