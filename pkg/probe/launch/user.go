package launch

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// become makes this process the named user's. With no name it is, under sudo,
// the user who called sudo, else nothing changes. dropped reports that it lost
// root's privileges.
func become(name string) (dropped bool, err error) {
	var u *user.User
	path := "" // what is left of that of the caller of sudo
	switch id := os.Getenv("SUDO_UID"); {
	case name != "":
		if u, err = user.Lookup(name); err != nil {
			u, err = user.LookupId(name)
		}
		if err != nil {
			return false, fmt.Errorf("user %s: not found", name)
		}
		path = userPath
		if u.Uid == "0" {
			path = rootPath
		}
	case id != "" && id != "0" && os.Geteuid() == 0:
		if u, err = user.LookupId(id); err != nil {
			return false, fmt.Errorf("user %s of SUDO_UID: %w", id, err)
		}
	default:
		return false, nil
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	ids, err3 := u.GroupIds()
	if err := errors.Join(err1, err2, err3); err != nil {
		return false, fmt.Errorf("user %s: %w", u.Username, err)
	}
	groups := make([]int, 0, len(ids))
	for _, s := range ids {
		g, err := strconv.Atoi(s)
		if err != nil {
			return false, fmt.Errorf("user %s: group %s: %w", u.Username, s, err)
		}
		groups = append(groups, g)
	}
	if uid == os.Getuid() && gid == os.Getgid() && os.Geteuid() == uid {
		have, err := os.Getgroups()
		if err == nil && sameSet(have, groups) {
			return false, nil
		}
	}
	oldHomes := []string{os.Getenv("HOME")}
	if old, err := user.LookupId(strconv.Itoa(os.Geteuid())); err == nil { // a system may have no entry for it
		oldHomes = append(oldHomes, old.HomeDir)
	}
	if err := syscall.Setgroups(groups); err != nil {
		return false, fmt.Errorf("become user %s: setgroups: %w", u.Username, err)
	}
	if err := syscall.Setresgid(gid, gid, gid); err != nil {
		return false, fmt.Errorf("become user %s: setgid: %w", u.Username, err)
	}
	if err := syscall.Setresuid(uid, uid, uid); err != nil {
		return false, fmt.Errorf("become user %s: setuid: %w", u.Username, err)
	}
	env := environment(os.Environ(), u.Username, u.HomeDir, path, oldHomes)
	os.Clearenv()
	for _, variable := range env {
		key, value, _ := strings.Cut(variable, "=")
		if err := os.Setenv(key, value); err != nil {
			return false, fmt.Errorf("become user %s: set %s: %w", u.Username, key, err)
		}
	}
	return uid != 0, nil
}

func sameSet(a, b []int) bool {
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}
