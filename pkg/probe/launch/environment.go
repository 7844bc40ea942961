package launch

import (
	"path/filepath"
	"slices"
	"strings"
)

// The PATH of a command that another user starts, as sudo and su set it.
const (
	userPath = "/usr/local/bin:/usr/bin:/bin"
	rootPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// sessionVariables belong to the session of the user who is left: sockets,
// agents, credentials and files that another user has no business with.
var sessionVariables = []string{
	"MAIL", "SHELL", "OLDPWD", "XAUTHORITY", "ICEAUTHORITY", "DBUS_SESSION_BUS_ADDRESS", "DBUS_SESSION_BUS_PID",
	"SSH_AUTH_SOCK", "SSH_AGENT_PID", "SSH_ASKPASS", "SSH_TTY", "GPG_AGENT_INFO", "GPG_TTY", "KRB5CCNAME",
	"TMUX", "STY", "HISTFILE", "BASH_ENV", "ENV", "PROMPT_COMMAND",
}

// environment is what a user's command gets of env. The variables that name the
// user are set, those that belong to the old user's session or name something in
// one of the old homes are left out. PATH is path, or, if that is empty, what of
// the old one lies outside the old homes.
func environment(env []string, name, home, path string, oldHomes []string) []string {
	oldHomes = slices.DeleteFunc(slices.Clone(oldHomes), func(old string) bool {
		return old == "" || filepath.Clean(old) == "/" || filepath.Clean(old) == filepath.Clean(home)
	})
	isOld := func(file string) bool {
		return slices.ContainsFunc(oldHomes, func(old string) bool {
			file, old := filepath.Clean(file), filepath.Clean(old)
			return file == old || strings.HasPrefix(file, old+"/")
		})
	}
	namesOld := func(value string) bool { return slices.ContainsFunc(strings.Split(value, ":"), isOld) }
	list := make([]string, 0, len(env)+4)
	for _, variable := range env {
		key, value, ok := strings.Cut(variable, "=")
		switch {
		case !ok || key == "HOME" || key == "USER" || key == "LOGNAME" || key == "USERNAME":
		case slices.Contains(sessionVariables, key) || strings.HasPrefix(key, "XDG_"):
		case key == "PATH":
			if path == "" {
				dirs := slices.DeleteFunc(strings.Split(value, ":"), func(dir string) bool {
					return !filepath.IsAbs(dir) || isOld(dir)
				})
				path = strings.Join(dirs, ":")
			}
		case namesOld(value):
		default:
			list = append(list, variable)
		}
	}
	if path == "" {
		path = userPath
	}
	return append(list, "HOME="+home, "USER="+name, "LOGNAME="+name, "PATH="+path)
}
