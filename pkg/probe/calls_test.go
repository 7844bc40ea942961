package probe

import (
	"slices"
	"testing"

	"vivarium/pkg/event"
)

// TestCalls: an event is of one call, with the object that it began with and the
// outcome that the program saw, whatever happens to it meanwhile.
func TestCalls(t *testing.T) {
	kinds := []event.ID{event.PathOpen, event.SockConnect, event.DNSReq, event.TaskKill, event.FileUnlink, event.SbMount}
	eachBackend(t, func(t *testing.T, hooks Hooks) {
		d := tempDir(t)
		s := record(t, Options{Hooks: hooks, FailedOpens: true, Events: events(kinds...)}, program(t, "calls"), d)
		const (
			refused = "sock_connect family=2 addr=127.0.0.1 port=4001 proto=tcp error=ECONNREFUSED"
			unknown = " outcome=unknown"
		)
		wait := "sock_connect family=1 path=" + d + "/busy proto=unix"
		kill := func(pid, sig string) string { return "task_kill sig=" + sig + " target_pid=${" + pid + "}" }
		got := s.only(kinds...).rows()
		for _, r := range []row{
			{"a connect after a stop", []string{kill("stopped", "19 sig_name=STOP"), kill("stopped", "18 sig_name=CONT"), refused}},
			{"traced", []string{kill("traced", "19 sig_name=STOP")}},
			{"a kill under a tracer", []string{kill("traced", "23 sig_name=URG"), refused}},
			{"timers", slices.Repeat([]string{"task_kill sig=0 sig_name=EXIT target_pid=1"}, 1000)},

			{"interrupted", []string{wait + " error=EINTR"}},
			{"interrupted and restarted", []string{wait}},
			{"interrupted and left", []string{wait + unknown}},
			{"interrupted and left for another one", []string{wait + unknown, wait + " error=EINTR"}},
			{"interrupted and killed", []string{wait + unknown}},
			{"stopped meanwhile", []string{kill("meanwhile", "19 sig_name=STOP"), kill("meanwhile", "18 sig_name=CONT"), wait}},
			{"an open, interrupted", []string{opened(d+"/fifo", 0) + " error=EINTR"}},
			{"an open, interrupted and restarted", []string{opened(d+"/fifo", 0o4002), opened(d+"/fifo", 1)}},

			{"another socket under the number of a connect", []string{"sock_connect family=2 addr=127.0.0.3 port=4003 proto=tcp"}},
			{"another socket under the number of a write", []string{"dns_req qname=hidden.example.org qtype=A addr=127.0.0.1"}},

			{"allowed", []string{
				"sock_connect family=2 addr=127.0.0.1 port=4000 proto=tcp", touched(d + "/there"), "file_unlink path=" + d + "/there",
			}},
			{"answered: done", []string{"sock_connect family=2 addr=127.0.0.1 port=22" + unknown}},
			{"answered: not permitted", []string{"file_unlink path=" + d + "/x error=EPERM"}},
			{"answered: a signal", []string{"file_unlink path=" + d + "/y" + unknown}},
			{"answered: opened", []string{opened(d+"/z", 0) + unknown}},
			{"answered: sent", []string{"dns_req qname=www.example.org qtype=A addr=127.0.0.1" + unknown}},
			{"answered: killed", []string{"task_kill sig=9 sig_name=KILL target_pid=${answered}" + unknown}},
			{"answered: mounted", []string{"sb_mount flags=0 dev=forged fstype=tmpfs path=/mnt" + unknown}},
		} {
			t.Run(r.name, func(t *testing.T) { compare(t, got[r.name], s.expand(r.want)) })
		}
	})
}
