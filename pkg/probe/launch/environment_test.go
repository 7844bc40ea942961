package launch

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEnvironment(t *testing.T) {
	const own = "\nHOME=/home/u\nUSER=u\nLOGNAME=u\nPATH="
	for name, c := range map[string]struct{ env, path, want string }{
		"names":                     {"HOME=/root\nUSER=root\nLOGNAME=root\nUSERNAME=root\nA=1\nB=\nC==x", userPath, "A=1\nB=\nC==x" + own + userPath},
		"path":                      {"PATH=/opt/secret:/root/bin:/usr/bin", userPath, own[1:] + userPath},
		"no path":                   {"X=y", "", "X=y" + own + userPath},
		"path of sudo":              {"PATH=/root/bin:/opt/x/bin::.:/root:bin:/usr/bin:/rooted", "", own[1:] + "/opt/x/bin:/usr/bin:/rooted"},
		"nothing is left of sudo's": {"PATH=/root/bin:.", "", own[1:] + userPath},
		"session": {"MAIL=/var/mail/root\nXDG_RUNTIME_DIR=/run/user/0\nXDG_CONFIG_HOME=/etc/x\nXDG_SESSION_ID=1\n" +
			"DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/0/bus\nSSH_AUTH_SOCK=/tmp/ssh-1/agent\nKRB5CCNAME=FILE:/tmp/krb5cc_0\n" +
			"SHELL=/bin/bash\nXAUTHORITY=/tmp/x\nTMUX=/tmp/tmux-0/default,1,0\nBASH_ENV=/etc/x\nTERM=xterm", userPath, "TERM=xterm" + own + userPath},
		"old homes": {"GOPATH=/root/go\nGEM_PATH=/usr/gems:/root/.gem\nOLD=/root\nTRAILING=/root/\nDOTS=/usr/../root/x\nUPPER=/var/lib/other/x\n" +
			"NEAR=/rootless\nTEXT=in /root\nRUBYOPT=-r/root/x\nMINE=/home/u/x", userPath, "NEAR=/rootless\nTEXT=in /root\nRUBYOPT=-r/root/x\nMINE=/home/u/x" + own + userPath},
		"no variable": {"garbage\n=x", userPath, "=x" + own + userPath},
	} {
		got := environment(strings.Split(c.env, "\n"), "u", "/home/u", c.path, []string{"", "/", "/root/", "/var/lib/other", "/home/u"})
		if d := cmp.Diff(c.want, strings.Join(got, "\n")); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}
