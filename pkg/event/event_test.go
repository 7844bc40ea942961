package event

import (
	"bytes"
	"encoding/json"
	"os"
	"strconv"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestCatalogue(t *testing.T) {
	for id := range Kinds {
		k := &Kinds[id]
		if k.ID != ID(id) {
			t.Errorf("%s: a row is missing, or is not at its ID", k.Name)
		}
		if Lookup([]byte(k.Name)) != k {
			t.Errorf("%s: Lookup does not find it", k.Name)
		}
		if len(k.Fields) > MaxFields {
			t.Errorf("%s has %d fields, more than MaxFields", k.Name, len(k.Fields))
		}
		if k.text == nil || k.Doc == "" || k.Label == "" {
			t.Errorf("%s: an entry is incomplete", k.Name)
		}
		if len(k.Name) > 16 {
			t.Errorf("%s: longer than a record of vivarium takes", k.Name)
		}
		last := -1
		for _, x := range k.extra {
			if x.field <= last {
				t.Errorf("%s: extra fields are not in catalogue order", k.Name)
			}
			last = x.field
		}
	}
}

// tables.json holds what Ruby on Linux x86_64 with glibc says.
func TestTables(t *testing.T) {
	data, err := os.ReadFile("testdata/tables.json")
	if err != nil {
		t.Fatal(err)
	}
	var tables struct {
		Signame, AF, Sock, IPProto map[string]string
		InspectByte                []string `json:"inspect_byte"`
		High                       []string `json:"severity_high"`
	}
	if err := json.Unmarshal(data, &tables); err != nil {
		t.Fatal(err)
	}
	if len(tables.InspectByte) != 256 || len(tables.Signame) == 0 || len(tables.AF) == 0 || len(tables.Sock) == 0 || len(tables.IPProto) == 0 {
		t.Fatal("tables.json has not what is expected of it")
	}
	for c, want := range tables.InspectByte {
		if got := string(AppendQuote(nil, []byte{byte(c)})); got != want {
			t.Errorf("byte %#x is quoted %s, Ruby says %s", c, got, want)
		}
	}
	for sig := int64(-1); sig < 70; sig++ {
		if got, want := SignalName(sig), tables.Signame[strconv.FormatInt(sig, 10)]; got != want {
			t.Errorf("signal %d is %q, Ruby says %q", sig, got, want)
		}
	}
	tables.AF["16"] = "AF_NETLINK" // Q49
	for n := uint64(0); n < 70000; n++ {
		key := strconv.FormatUint(n, 10)
		if got, want := families[n], tables.AF[key]; got != want {
			t.Errorf("family %d is %q, Ruby says %q", n, got, want)
		}
		if got, want := sockTypes[n], tables.Sock[key]; got != want {
			t.Errorf("socket type %d is %q, Ruby says %q", n, got, want)
		}
		if got, want := protocols[n], tables.IPProto[key]; got != want && want != "" { // Q49: the kernel's list is longer
			t.Errorf("protocol %d is %q, Ruby says %q", n, got, want)
		}
	}
	high := map[string]bool{}
	for _, name := range tables.High {
		high[name] = true
	}
	for id := range Kinds {
		k := &Kinds[id]
		if got := k.Severity == High; got != high[k.Name] {
			t.Errorf("%s: high severity is %v", k.Name, got)
		}
	}
}

// with returns a live event of a kind.
func with(id ID, fields ...any) *Event {
	ev := &Event{Kind: &Kinds[id], Name: []byte(Kinds[id].Name)}
	for i := 0; i < len(fields); i += 2 {
		set := false
		for j, f := range ev.Kind.Fields {
			if f.Name != fields[i] {
				continue
			}
			v := &ev.Fields[j]
			v.Type, set = f.Type, true
			switch x := fields[i+1].(type) {
			case int:
				v.Num = uint64(x)
			case bool:
				if x {
					v.Num = 1
				}
			case string:
				v.Text = []byte(x)
			case []string:
				for _, s := range x {
					v.List = append(v.List, []byte(s))
				}
			}
		}
		if !set {
			panic(fields[i])
		}
	}
	return ev
}

func TestTextLive(t *testing.T) {
	failed := with(PathOpen, "path", "/etc/shadow", "flags", 0)
	failed.Error = []byte("EACCES")
	cut := with(ProcExec, "path", "/bin/sh", "argv", []string{"sh", "-c"}, "argc", 900)
	cut.Truncated = true
	unknown := with(PathOpen, "path", "/x", "flags", 0o1101)
	unknown.OutcomeUnknown = true
	hostile := with(PathOpen, "path", "/x", "flags", 0)
	hostile.Error = []byte("E\x1b[2J error=none")
	for _, test := range []struct {
		ev   *Event
		want string
	}{
		{with(PathOpen, "path", "/etc/hosts", "flags", 0), `"/etc/hosts" flags=O_RDONLY`},
		{with(PathOpen, "path", "/tmp/x", "flags", 0o1101), `"/tmp/x" flags=O_WRONLY|O_CREAT|O_TRUNC`},
		{with(PathOpen, "path", "/tmp", "flags", 0o20300002), `"/tmp" flags=O_RDWR|O_TMPFILE`},
		{with(PathOpen, "path", "/tmp", "flags", 0o6010000), `"/tmp" flags=O_RDONLY|O_SYNC|O_CLOEXEC`},
		{with(PathOpen, "path", "/tmp", "flags", 1<<40|3), `"/tmp" flags=3|0x10000000000`},
		{with(PathOpen, "path", "/tmp/a b"), `"/tmp/a b"`},
		{failed, `"/etc/shadow" flags=O_RDONLY error=EACCES`},
		{unknown, `"/x" flags=O_WRONLY|O_CREAT|O_TRUNC outcome=unknown`},
		{hostile, `"/x" flags=O_RDONLY error="E\e[2J error=none"`},
		{with(MmapExec, "path", "/lib/x.so"), `"/lib/x.so"`},
		{with(Dlopen, "path", "libz.so"), `"libz.so"`},
		{with(SockConnect, "family", 2, "addr", "127.0.0.1", "port", 80), `127.0.0.1:80 (AF_INET)`},
		{with(SockConnect, "family", 10, "addr", "::1", "port", 443), `[0:0:0:0:0:0:0:1]:443 (AF_INET6)`},
		{with(SockConnect, "family", 10, "addr", "::ffff:10.1.2.3", "port", 443), `[::ffff:10.1.2.3]:443 (AF_INET6)`},
		{with(SockConnect, "family", 10, "addr", "::ffff:a01:203", "port", 443), `[::ffff:10.1.2.3]:443 (AF_INET6)`},
		{with(SockConnect, "family", 10, "addr", "::10.1.2.3", "port", 443), `[0:0:0:0:0:0:a01:203]:443 (AF_INET6)`},
		{with(SockConnect, "family", 10, "addr", "127.0.0.1", "port", 443), `127.0.0.1:443 (AF_INET6)`},
		{with(SockConnect, "family", 10, "addr", "fe80::1%eth0", "port", 443), `[fe80::1%eth0]:443 (AF_INET6)`},
		{with(SockConnect, "family", 10, "addr", "no\x1baddress", "port", 443), `[no\eaddress]:443 (AF_INET6)`},
		{with(SockConnect, "family", 2, "port", 80), `family=2(AF_INET) port=80`},
		{with(SockConnect, "family", 1, "path", "/run/x"), `family=1(AF_UNIX) port=0 path="/run/x"`},
		{with(OddSocket, "family", 16, "socktype", 3, "protocol", 15), `family=16(AF_NETLINK) type=3(SOCK_RAW) protocol=15(UNKNOWN)`},
		{with(OddSocket, "family", 2, "socktype", 5, "protocol", 132), `family=2(AF_INET) type=5(SOCK_SEQPACKET) protocol=132(IPPROTO_SCTP)`},
		{with(DNSReq, "qname", "a.example", "qtype", "AAAA", "addr", "127.0.0.53"), `a.example qtype=AAAA addr=127.0.0.53`},
		{with(DNSReq, "qname", " a  b\t \x1b[m\xff\u202e"), `\x20a \x20b\t \e[m\xFF\u{202E}`},
		{with(DNSReq, "qtype", "NS"), `. qtype=NS`},
		{with(ProcFork, "child_pid", 7, "child_tid", 8, "child_span_id", 0xabc), `child_pid=7 child_tid=8 child_span_id=0000000000000abc`},
		{with(ProcExec, "path", "/bin/sh", "argv", []string{"sh", "", "#{x}"}, "argc", 3), `filename="/bin/sh" argv=["sh", "", "\#{x}"]`},
		{with(ProcExec, "path", "/bin/sh", "argv", []string{"sh"}, "argc", 1, "old_tid", 9), `filename="/bin/sh" argv=["sh"] old_tid=9`},
		{cut, `filename="/bin/sh" argv=["sh", "-c"] argc=900 truncated=true`},
		{with(ProcExit, "exit_code", 3), `code=3`},
		{with(ProcExit, "exit_code", 0, "signal", 9), `signal=KILL`},
		{with(ProcExit, "exit_code", 0, "signal", 35), `signal=35`},
		{with(ProcExit), `""`},
		{with(PtraceCheck, "mode", 0x12, "target_pid", 5), `mode=0x12 target_pid=5`},
		{with(SbMount, "flags", 0x1000, "dev", "/dev/a", "fstype", "ext4", "path", "/mnt"), `flags=0x1000 dev_name="/dev/a" fs_type="ext4" path="/mnt"`},
		{with(KernelReadFile, "id", 2, "contents", 1, "path", "/m.ko", "id_name", "kernel-module"), `id=2 contents=1 path="/m.ko" id_name=kernel-module`},
		{with(TaskKill, "sig", 15, "sig_name", "TERM", "target_pid", -3), `sig=15 signame=TERM target_pid=-3`},
		{with(TaskKill, "sig", -1), `sig=-1`},
		{with(SetidChange, "flags", 4, "old_ids", "0,0,0,0", "new_ids", "1,1,1,1", "group", false), `flags=0x4 kinds=[LSM_SETID_RES] old_ids=0,0,0,0 new_ids=1,1,1,1 group=false`},
		{with(CapableCheck, "cap", 21, "cap_name", "CAP_SYS_ADMIN", "opts", 2), `cap=21(CAP_SYS_ADMIN) opts=0x2`},
		{with(BprmCreds, "has_file", 1, "path", "/usr/bin/sudo", "setuid", true), `has_file=1 file="/usr/bin/sudo" setuid=true`},
		{with(FileSymlink, "target", "../a", "path", "/b"), `target="../a" link_name="/b"`},
		{with(FileHardlink, "old_path", "/a", "path", "/b"), `old_path="/a" new_name="/b"`},
		{with(FileRename, "old_path", "/a", "path", "/b"), `old_name="/a" new_name="/b"`},
		{with(FileRename, "old_path", "/a", "path", "/b", "flags", 2), `old_name="/a" new_name="/b" flags=RENAME_EXCHANGE`},
		{with(FileRename, "old_path", "/a", "path", "/b", "flags", 0x15), `old_name="/a" new_name="/b" flags=RENAME_NOREPLACE|RENAME_WHITEOUT|0x10`},
		{with(FileRename, "old_path", "/a", "path", "/b", "flags", 8), `old_name="/a" new_name="/b" flags=0x8`},
		{&Event{Kind: &Kinds[FileUnlink], Root: []byte("/srv\n"), Deleted: true, Truncated: true}, `filename="" root="/srv\n" deleted=true truncated=true`},
		{with(FileUnlink, "path", "/tmp/gone"), `filename="/tmp/gone"`},
		{with(FileChmod, "mode", 0o4755, "path", "/x"), `mode=0o4755 path="/x"`},
		{with(FileGetdents, "fd", 3, "count", 32768, "path", "/etc"), `fd=3 count=32768 path="/etc"`},
		{with(SSLWrite, "len", 9, "captured", 9, "summary", "http/1.x request: GET /\x1b", "conn", 4), `http/1.x request: GET /\e conn=4`},
		{with(SSLWrite, "len", 9), `len=9 <no-capture>`},
		{with(EnvCaccess, "op", "getenv", "key", "HOME"), `op=getenv key="HOME"`},
		{with(EnvCaccess, "op", "clearenv"), `op=clearenv`},
		{with(SpanRaise, "error", "E::\u00e4", "message", "no\n", "file", "/a/b.rb", "line", 3, "source", "marker"), `error=E::ä message="no\n" at=b.rb:3 source=marker`},
		{with(SpanRaise, "message", "m"), `error=? message="m"`},
		{&Event{Name: []byte("new_kind"), Error: []byte("EPERM")}, `error=EPERM`},
		{&Event{Name: []byte("new_kind")}, ``},
	} {
		if got := string(AppendText([]byte("x"), test.ev)); got != "x"+test.want {
			t.Errorf("%s:\n got %s\nwant x%s", test.ev.Name, got, test.want)
		}
	}
}

func TestBasename(t *testing.T) {
	for path, want := range map[string]string{
		"": "", "/": "/", "//": "/", "a": "a", "/a/b.rb": "b.rb", "/a/b/": "b", "dir/": "dir",
		"(eval at /x/y.rb:3)":               "y.rb",
		"(eval at (eval at /x/y.rb:26):1)":  "y.rb",
		"(eval at /x/a b.rb":                "a b.rb",
		"(eval at /x/y.rb:)":                "y.rb:)",
		"(eval at ":                         "(eval at ",
		"(eval at :3)":                      "",
		"(eval)":                            "(eval)",
		"(eval at (eval at (eval at /q.rb:": "q.rb:",
	} {
		if got := string(Basename([]byte(path))); got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	}
}

// Whatever an event holds, its text is one line of printable UTF-8, and
// nothing panics.
func checkText(t *testing.T, text []byte) {
	t.Helper()
	if !utf8.Valid(text) {
		t.Errorf("not UTF-8: %q", text)
	}
	for _, r := range string(text) {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			t.Errorf("%U in %q", r, text)
			return
		}
	}
}

func FuzzQuote(f *testing.F) {
	f.Add([]byte("a#{b}\xff\u202e\n"))
	f.Fuzz(func(t *testing.T, s []byte) {
		checkText(t, AppendQuote(nil, s))
		checkText(t, AppendSafe(nil, s))
		checkText(t, appendWord(nil, s))
		for where := inQuotes; where <= inBrackets; where++ {
			checkReadable(t, appendReadable(nil, s, where), where)
		}
		folded := appendFolded(nil, s)
		checkText(t, folded)
		if bytes.Contains(folded, []byte("  ")) {
			t.Errorf("%q is folded to %q", s, folded)
		}
		Basename(s)
	})
}

func BenchmarkText(b *testing.B) {
	open := with(PathOpen, "path", "/usr/lib/x86_64-linux-gnu/libcrypto.so.3", "flags", 0o2000000)
	exec := with(ProcExec, "path", "/bin/sh", "argv", []string{"sh", "-c", "cat /etc/passwd | wc -l"}, "argc", 3)
	connect := with(SockConnect, "family", 10, "addr", "2001:db8::1", "port", 443)
	for name, ev := range map[string]*Event{"open": open, "exec": exec, "connect6": connect} {
		b.Run(name, func(b *testing.B) {
			buf := make([]byte, 0, 4096)
			b.ReportAllocs()
			for b.Loop() {
				buf = AppendText(buf[:0], ev)
			}
		})
	}
}

func TestTextAllocates(t *testing.T) {
	buf := make([]byte, 0, 4096)
	for id := range Kinds {
		ev := Event{Kind: &Kinds[id]}
		for i, f := range ev.Kind.Fields {
			ev.Fields[i] = Value{Type: f.Type, Num: FamilyInet6, Text: []byte("::1"), List: [][]byte{[]byte("a")}}
		}
		if n := testing.AllocsPerRun(100, func() { buf = AppendText(buf[:0], &ev) }); n > 0 {
			t.Errorf("%s: %v allocations", ev.Kind.Name, n)
		}
	}
}
