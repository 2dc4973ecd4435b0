// Package posture owns what a computer can say of its own state: system and version, when it was last brought up to date,
// whether its disk is encrypted and its screen locks by itself. It asks the system and changes nothing; what it cannot find
// out it calls unknown.
//
// It leaves what that is worth to whoever judges it: a computer that lies can say anything.
package posture

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"runtime"
	"strings"
	"time"
)

// An Answer is what was found out.
type Answer string

// The answers.
const (
	Unknown Answer = "unknown"
	Yes     Answer = "yes"
	No      Answer = "no"
)

// A Report is a computer's state.
type Report struct {
	Family    string    `json:"family"`           // "linux", "macos", "windows"
	Version   string    `json:"version"`          // of the kernel (Linux), the product (macOS) or the build (Windows)
	Updated   time.Time `json:"updated,omitzero"` // last change of the installed system, zero where that is not known
	Encrypted Answer    `json:"encrypted"`        // the disk that the system is on
	Locked    Answer    `json:"locked"`           // the screen locks after a while without use
}

// A System is where to look.
type System struct {
	OS   string // as runtime.GOOS
	Root fs.FS  // the file system from its root
	Home string // the person's own directory, below Root, without the first slash
	// Run runs a program and returns what it prints, at most 64 KiB.
	Run func(ctx context.Context, program string, arguments ...string) (string, error)
}

// This is the computer that the program runs on; home is the person's own directory.
func This(home string) System {
	return System{OS: runtime.GOOS, Root: os.DirFS("/"), Home: strings.TrimPrefix(home, "/"), Run: run}
}

// runFor bounds what one question to the system may take.
const runFor = 5 * time.Second

func run(ctx context.Context, program string, arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, runFor)
	defer cancel()
	c := exec.CommandContext(ctx, program, arguments...)
	var out limited
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.String(), err
}

// limited keeps the beginning of what is written to it.
type limited struct{ bytes.Buffer }

// Write implements io.Writer.
func (l *limited) Write(p []byte) (int, error) {
	const most = 64 << 10
	l.Buffer.Write(p[:min(len(p), max(0, most-l.Len()))])
	return len(p), nil
}

// Look finds out what there is to find out.
func (s System) Look(ctx context.Context) Report {
	r := Report{Family: s.OS, Version: "0", Encrypted: Unknown, Locked: Unknown}
	switch s.OS {
	case "linux":
		s.linux(ctx, &r)
	case "darwin":
		s.mac(ctx, &r)
	case "windows":
		s.windows(ctx, &r)
	}
	return r
}

// read returns a small file's text, "" where it cannot be read.
func (s System) read(name string) string {
	f, err := s.Root.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (s System) linux(ctx context.Context, r *Report) {
	if v := s.read("proc/sys/kernel/osrelease"); v != "" {
		r.Version = v
	}
	// The package managers' own records, whichever there are: dpkg, rpm, pacman, apk.
	for _, name := range []string{"var/lib/dpkg/status", "var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/rpmdb.sqlite", "var/lib/rpm/Packages", "var/lib/pacman/local", "lib/apk/db/installed"} {
		if info, err := fs.Stat(s.Root, name); err == nil && info.ModTime().After(r.Updated) {
			r.Updated = info.ModTime().UTC()
		}
	}
	r.Encrypted = s.encrypted()
	r.Locked = s.locked(ctx)
}

// encrypted looks for dm-crypt below the file system at "/".
func (s System) encrypted() Answer {
	for line := range strings.Lines(s.read("proc/self/mountinfo")) {
		f := strings.Fields(line) // proc(5): 36 35 98:0 / / rw - ext4 /dev/sda1 rw
		if len(f) < 5 || f[4] != "/" {
			continue
		}
		if device := s.block(f); device != "" {
			return s.crypt(device, 0)
		}
		return Unknown
	}
	return Unknown
}

// block names the directory in /sys of the device that a mount is of, "" where it is of none.
func (s System) block(mount []string) string {
	if dir := "sys/dev/block/" + mount[2]; s.isThere(dir) {
		return dir
	}
	for i, f := range mount { // file systems that number themselves, such as btrfs, name their device
		if f != "-" || i+2 >= len(mount) {
			continue
		}
		name := path.Base(mount[i+2])
		if strings.HasPrefix(mount[i+2], "/dev/mapper/") {
			return s.mapped(name)
		}
		if dir := "sys/class/block/" + name; strings.HasPrefix(mount[i+2], "/dev/") && s.isThere(dir) {
			return dir
		}
	}
	return ""
}

// mapped finds the directory of a device-mapper device by its name.
func (s System) mapped(name string) string {
	all, err := fs.ReadDir(s.Root, "sys/class/block")
	if err != nil {
		return ""
	}
	for _, e := range all {
		if dir := "sys/class/block/" + e.Name(); s.read(dir+"/dm/name") == name {
			return dir
		}
	}
	return ""
}

// crypt reports whether a block device, or everything that it stands on, is encrypted.
func (s System) crypt(dir string, depth int) Answer {
	if strings.HasPrefix(s.read(dir+"/dm/uuid"), "CRYPT-") {
		return Yes
	}
	below, err := fs.ReadDir(s.Root, dir+"/slaves")
	if err != nil || len(below) == 0 || depth > 8 {
		return No
	}
	for _, e := range below {
		if s.crypt("sys/class/block/"+e.Name(), depth+1) != Yes {
			return No
		}
	}
	return Yes
}

func (s System) isThere(name string) bool {
	_, err := fs.Stat(s.Root, name)
	return err == nil
}

// run asks a program of the system; a System without a way to do so knows nothing from programs.
func (s System) run(ctx context.Context, name string, args ...string) (string, error) {
	if s.Run == nil {
		return "", errors.New("no program can be asked")
	}
	return s.Run(ctx, name, args...)
}

// locked asks the desktops that people use: GNOME and its relatives, and KDE.
func (s System) locked(ctx context.Context) Answer {
	if s.Home != "" && s.isThere(s.Home+"/.config/kscreenlockerrc") {
		if strings.Contains(s.read(s.Home+"/.config/kscreenlockerrc"), "Autolock=false") {
			return No
		}
		return Yes
	}
	enabled, err := s.run(ctx, "gsettings", "get", "org.gnome.desktop.screensaver", "lock-enabled")
	if err != nil {
		return Unknown
	}
	idle, err := s.run(ctx, "gsettings", "get", "org.gnome.desktop.session", "idle-delay")
	if err != nil {
		return Unknown
	}
	return answer(strings.TrimSpace(enabled) == "true" && strings.TrimSpace(idle) != "uint32 0")
}

func (s System) mac(ctx context.Context, r *Report) {
	r.Family = "macos"
	if v, err := s.run(ctx, "sw_vers", "-productVersion"); err == nil {
		r.Version = strings.TrimSpace(v)
	}
	if v, err := s.run(ctx, "fdesetup", "status"); err == nil {
		r.Encrypted = answer(strings.Contains(v, "FileVault is On"))
	}
	if v, err := s.run(ctx, "sysadminctl", "-screenLock", "status"); err == nil {
		r.Locked = answer(strings.Contains(v, "screenLock delay is") && !strings.Contains(v, "off"))
	}
	if v, err := s.run(ctx, "defaults", "read", "/Library/Preferences/com.apple.SoftwareUpdate", "LastFullSuccessfulDate"); err == nil {
		if at, err := time.Parse("2006-01-02 15:04:05 -0700", strings.TrimSpace(v)); err == nil {
			r.Updated = at.UTC()
		}
	}
}

func (s System) windows(ctx context.Context, r *Report) {
	if v, err := s.run(ctx, "cmd", "/c", "ver"); err == nil { // Microsoft Windows [Version 10.0.22631.4460]
		if _, v, ok := strings.Cut(v, "Version "); ok {
			r.Version, _, _ = strings.Cut(v, "]")
		}
	}
	if v, err := s.run(ctx, "manage-bde", "-status", "C:"); err == nil { // needs an administrator
		r.Encrypted = answer(strings.Contains(v, "Protection On"))
	}
	const policy = `HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System`
	if v, err := s.run(ctx, "reg", "query", policy, "/v", "InactivityTimeoutSecs"); err == nil {
		r.Locked = answer(strings.Contains(v, "0x") && !strings.Contains(v, "0x0\r"))
	}
}

func answer(yes bool) Answer {
	if yes {
		return Yes
	}
	return No
}

// Machine names this computer: the same as long as its system is not installed anew, and on no other. "" where the system
// has no name of this kind.
func (s System) Machine(ctx context.Context) string {
	switch s.OS {
	case "linux":
		for _, name := range []string{"etc/machine-id", "var/lib/dbus/machine-id"} { // machine-id(5)
			if id := s.read(name); id != "" {
				return id
			}
		}
	case "darwin":
		v, err := s.run(ctx, "ioreg", "-rd1", "-c", "IOPlatformExpertDevice")
		if _, rest, ok := strings.Cut(v, `"IOPlatformUUID" = "`); err == nil && ok {
			id, _, _ := strings.Cut(rest, `"`)
			return id
		}
	case "windows":
		v, err := s.run(ctx, "reg", "query", `HKLM\SOFTWARE\Microsoft\Cryptography`, "/v", "MachineGuid")
		if f := strings.Fields(v); err == nil && len(f) > 0 {
			return f[len(f)-1]
		}
	}
	return ""
}
