package filter

import (
	"testing"

	"vivarium/pkg/event"
)

// TestOtherRoot: the paths of a thread with a root of its own are matched as it
// sees them, and as viv-probe does.
func TestOtherRoot(t *testing.T) {
	pattern := func(expr string) *Rules {
		p, err := Expression(expr)
		if err != nil {
			t.Fatal(err)
		}
		return &Rules{Payloads: Patterns{p}}
	}
	for _, c := range []struct {
		name       string
		rules      *Rules
		root, path string
		want       bool
	}{
		{"the review, a root in /etc", Default(), "/etc", "/shadow", true},
		{"the review, a root in a home", Default(), "/home/u/.aws", "/credentials", true},
		{"the review, another root", Default(), "/srv/jail", "/shadow", false},
		{"the review, /etc of another root", Default(), "/srv/jail", "/etc/shadow", true},
		{"the review, a container", Default(), "(unreachable)/", "/etc/shadow", true},
		{"the review, elsewhere in a container", Default(), "(unreachable)/", "/shadow", false},
		{"the review, not known", Default(), "(unknown)", "/shadow", false},
		{"the review, the own root", Default(), "", "/shadow", false},
		{"a payload as it is outside", pattern("^\"/etc/shadow\""), "/etc", "/shadow", true},
		{"a payload as the program sees it", pattern("^\"/shadow\""), "/etc", "/shadow", true},
		{"another payload", pattern("^\"/etc/passwd\""), "/etc", "/shadow", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := New(Selection{Rules: []*Rules{c.rules}})
			ev := event.Event{Kind: &event.Kinds[event.PathOpen], Name: []byte("path_open"), Root: []byte(c.root)}
			ev.Fields[event.PathOpenPath] = event.Value{Type: event.Text, Text: []byte(c.path)}
			if got := f.shows(&ev); got != c.want {
				t.Errorf("shown: %v", got)
			}
			if got := string(ev.Fields[event.PathOpenPath].Text); got != c.path {
				t.Errorf("the event's path became %s", got)
			}
		})
	}
}
