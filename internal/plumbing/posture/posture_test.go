package posture_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"sallyport/internal/plumbing/posture"
)

var updated = time.Date(2026, 11, 10, 8, 0, 0, 0, time.UTC)

func linux(files map[string]string, programs map[string]string) posture.System {
	root := fstest.MapFS{"proc/sys/kernel/osrelease": {Data: []byte("6.1.0-28-amd64\n")}, "var/lib/dpkg/status": {ModTime: updated}}
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return posture.System{OS: "linux", Root: root, Home: "home/ana", Run: programsOf(programs)}
}

func programsOf(answers map[string]string) func(context.Context, string, ...string) (string, error) {
	return func(_ context.Context, program string, arguments ...string) (string, error) {
		for beginning, out := range answers {
			if strings.HasPrefix(program+" "+strings.Join(arguments, " "), beginning) {
				return out, nil
			}
		}
		return "", errors.New("no such program")
	}
}

func TestLinux(t *testing.T) {
	const onMapper = "22 1 253:1 / / rw,relatime shared:1 - ext4 /dev/mapper/vg-root rw\n"
	locks := map[string]string{"gsettings get org.gnome.desktop.screensaver": "true\n", "gsettings get org.gnome.desktop.session": "uint32 300\n"}
	for name, test := range map[string]struct {
		files, programs   map[string]string
		encrypted, locked posture.Answer
	}{
		"a server":       {nil, nil, posture.Unknown, posture.Unknown},
		"a bare disk":    {map[string]string{"proc/self/mountinfo": "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", "sys/dev/block/8:1/size": "1"}, nil, posture.No, posture.Unknown},
		"LUKS itself":    {map[string]string{"proc/self/mountinfo": onMapper, "sys/dev/block/253:1/dm/uuid": "CRYPT-LUKS2-aa\n"}, nil, posture.Yes, posture.Unknown},
		"LVM over LUKS":  {map[string]string{"proc/self/mountinfo": onMapper, "sys/dev/block/253:1/dm/uuid": "LVM-aa", "sys/dev/block/253:1/slaves/dm-0/x": "", "sys/class/block/dm-0/dm/uuid": "CRYPT-LUKS2-aa"}, nil, posture.Yes, posture.Unknown},
		"half encrypted": {map[string]string{"proc/self/mountinfo": onMapper, "sys/dev/block/253:1/slaves/dm-0/x": "", "sys/dev/block/253:1/slaves/sda2/x": "", "sys/class/block/dm-0/dm/uuid": "CRYPT-LUKS2-aa", "sys/class/block/sda2/size": "1"}, nil, posture.No, posture.Unknown},
		"btrfs on LUKS":  {map[string]string{"proc/self/mountinfo": "22 1 0:33 /@ / rw shared:1 - btrfs /dev/mapper/root rw\n", "sys/class/block/dm-0/dm/name": "root\n", "sys/class/block/dm-0/dm/uuid": "CRYPT-LUKS2-aa"}, nil, posture.Yes, posture.Unknown},
		"btrfs, bare":    {map[string]string{"proc/self/mountinfo": "22 1 0:33 / / rw - btrfs /dev/sda2 rw\n", "sys/class/block/sda2/size": "1"}, nil, posture.No, posture.Unknown},
		"a container":    {map[string]string{"proc/self/mountinfo": "22 1 0:99 / / rw - overlay overlay rw\n"}, nil, posture.Unknown, posture.Unknown},
		"a torn file":    {map[string]string{"proc/self/mountinfo": "22 1\n\n- - -"}, nil, posture.Unknown, posture.Unknown},
		"GNOME":          {nil, locks, posture.Unknown, posture.Yes},
		"GNOME, never":   {nil, map[string]string{"gsettings get org.gnome.desktop.screensaver": "true", "gsettings get org.gnome.desktop.session": "uint32 0"}, posture.Unknown, posture.No},
		"KDE":            {map[string]string{"home/ana/.config/kscreenlockerrc": "[Daemon]\nTimeout=5\n"}, nil, posture.Unknown, posture.Yes},
		"KDE, off":       {map[string]string{"home/ana/.config/kscreenlockerrc": "[Daemon]\nAutolock=false\n"}, locks, posture.Unknown, posture.No},
	} {
		r := linux(test.files, test.programs).Look(t.Context())
		if r.Encrypted != test.encrypted || r.Locked != test.locked || r.Family != "linux" || r.Version != "6.1.0-28-amd64" || !r.Updated.Equal(updated) {
			t.Errorf("%s: %+v; want encrypted %s, locked %s", name, r, test.encrypted, test.locked)
		}
	}
}

func TestOtherSystems(t *testing.T) {
	mac := posture.System{OS: "darwin", Root: fstest.MapFS{}, Run: programsOf(map[string]string{"sw_vers": "14.5\n", "fdesetup": "FileVault is On.\n",
		"sysadminctl": "screenLock delay is immediate\n", "defaults": "2026-11-10 08:00:00 +0000\n", "ioreg": `  "IOPlatformUUID" = "AA-BB"` + "\n"})}
	if r := mac.Look(t.Context()); r != (posture.Report{Family: "macos", Version: "14.5", Updated: updated, Encrypted: posture.Yes, Locked: posture.Yes}) {
		t.Errorf("macOS: %+v", r)
	}
	windows := posture.System{OS: "windows", Root: fstest.MapFS{}, Run: programsOf(map[string]string{"cmd /c ver": "\r\nMicrosoft Windows [Version 10.0.22631.4460]\r\n",
		"manage-bde": "Protection Status:    Protection On\r\n", "reg query HKLM\\SOFTWARE\\Microsoft\\Cryptography": "    MachineGuid    REG_SZ    cc-dd\r\n"})}
	if r := windows.Look(t.Context()); r != (posture.Report{Family: "windows", Version: "10.0.22631.4460", Encrypted: posture.Yes, Locked: posture.Unknown}) {
		t.Errorf("Windows: %+v", r)
	}
	for want, s := range map[string]posture.System{"AA-BB": mac, "cc-dd": windows, "0123": linux(map[string]string{"etc/machine-id": "0123\n"}, nil), "": linux(nil, nil)} {
		if got := s.Machine(t.Context()); got != want {
			t.Errorf("machine %q, want %q", got, want)
		}
	}
	if r := (posture.System{OS: "plan9", Root: fstest.MapFS{}, Run: programsOf(nil)}).Look(t.Context()); r.Encrypted != posture.Unknown || r.Version != "0" {
		t.Errorf("an unknown system: %+v", r)
	}
}

// TestThis only wants that the real thing answers at all.
func TestThis(t *testing.T) {
	if r := posture.This(t.TempDir()).Look(t.Context()); r.Family == "" || r.Version == "" || r.Encrypted == "" || r.Locked == "" {
		t.Errorf("%+v", r)
	}
}

// TestNoProgramToAsk: a System that can run nothing says what its files say, and that it does not know the rest.
func TestNoProgramToAsk(t *testing.T) {
	for _, system := range []string{"linux", "darwin", "windows"} {
		r := posture.System{OS: system, Root: fstest.MapFS{}}.Look(t.Context())
		if r.Locked != posture.Unknown || r.Encrypted != posture.Unknown {
			t.Errorf("%s: %+v", system, r)
		}
	}
}
