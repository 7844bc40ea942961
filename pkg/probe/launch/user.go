package launch

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"syscall"
)

// become makes this process the named user's. With no name it is, under sudo,
// the user who called sudo, else nothing changes.
func become(name string) error {
	var u *user.User
	var err error
	switch id := os.Getenv("SUDO_UID"); {
	case name != "":
		if u, err = user.Lookup(name); err != nil {
			u, err = user.LookupId(name)
		}
		if err != nil {
			return fmt.Errorf("user %s: not found", name)
		}
	case id != "" && id != "0" && os.Geteuid() == 0:
		if u, err = user.LookupId(id); err != nil {
			return fmt.Errorf("user %s of SUDO_UID: %w", id, err)
		}
	default:
		return nil
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	ids, err3 := u.GroupIds()
	if err := errors.Join(err1, err2, err3); err != nil {
		return fmt.Errorf("user %s: %w", u.Username, err)
	}
	groups := make([]int, 0, len(ids))
	for _, s := range ids {
		g, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("user %s: group %s: %w", u.Username, s, err)
		}
		groups = append(groups, g)
	}
	if uid == os.Getuid() && gid == os.Getgid() && os.Geteuid() == uid {
		have, err := os.Getgroups()
		if err == nil && sameSet(have, groups) {
			return nil
		}
	}
	if err := syscall.Setgroups(groups); err != nil {
		return fmt.Errorf("become user %s: setgroups: %w", u.Username, err)
	}
	if err := syscall.Setresgid(gid, gid, gid); err != nil {
		return fmt.Errorf("become user %s: setgid: %w", u.Username, err)
	}
	if err := syscall.Setresuid(uid, uid, uid); err != nil {
		return fmt.Errorf("become user %s: setuid: %w", u.Username, err)
	}
	for k, v := range map[string]string{"HOME": u.HomeDir, "USER": u.Username, "LOGNAME": u.Username} {
		if err := os.Setenv(k, v); err != nil {
			return fmt.Errorf("become user %s: %w", u.Username, err)
		}
	}
	return nil
}

func sameSet(a, b []int) bool {
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}
