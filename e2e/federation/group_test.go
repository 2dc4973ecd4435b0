//go:build e2e

package federation

import (
	"os/exec"
	"syscall"
)

// ownGroup puts a program and its children into a process group of their own: kc.sh is a shell around Java.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func endGroup(command *exec.Cmd) { _ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
