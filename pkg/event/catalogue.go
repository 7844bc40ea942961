package event

// Kind is one entry of the catalogue.
type Kind struct {
	Name     string
	Label    string // what viv-tree prints in front
	Severity Severity
	Fields   []Field // own fields, in the order of the stream and of the tree's text
	Doc      string  // one sentence for people

	text   func(b []byte, ev *Event) []byte // vivarium's text of it
	extra  []extra                          // fields that vivarium does not have, in catalogue order
	slots  []slot                           // where its fields lie in a payload of vivarium-raw
	decode func(ev *Event, payload []byte)  // the fields of a payload that no slot tells, after the slots
	encode func(ev *Event, payload []byte)  // the reverse
}

// Field is an own field of a kind.
type Field struct {
	Name string
	Type Type
	// Wire says where the field lies in a record of the BPF programs.
	Wire Wire
	// Doc is the meaning, with the unit.
	Doc string
}

// Wire is the place of a field in the record that a BPF program writes
// (struct viv_rec in bpf/record.h): one of its numbers or one of its texts.
type Wire uint8

// The places in a record.
const (
	Derived Wire = iota // not in the record: computed from other fields, or by the reader
	Num0
	Num1
	Num2
	Num3
	Text0
	Text1
	Args0 // text 0, NUL-separated: a List
	Args1
	Addr0 // text 0, 4 or 16 bytes of an IP address: becomes its text form
	Addr1
)

// ID is a kind's number in records of the BPF programs (enum viv_kind in
// bpf/record.h) and its index in Kinds.
type ID uint16

// The kinds, in the order of DESIGN.md's table.
const (
	PathOpen ID = iota
	MmapExec
	Dlopen
	SockConnect
	OddSocket
	DNSReq
	ProcFork
	ProcExec
	ProcExit
	PtraceCheck
	SbMount
	KernelReadFile
	TaskKill
	SetidChange
	CapableCheck
	BprmCreds
	FileSymlink
	FileHardlink
	FileRename
	FileUnlink
	FileChmod
	FileGetdents
	SSLWrite
	EnvCaccess
	SpanStart
	SpanStop
	SpanRaise
	NumKinds
)

// Kinds is the catalogue, indexed by ID.
var Kinds = [NumKinds]Kind{
	PathOpen: {Name: "path_open", Label: "LSM", Doc: "A file was opened.", Fields: []Field{
		{"path", Text, Text0, "whole path as the target sees it"},
		{"flags", Uint, Num0, "open flags (O_*)"},
	}, text: textPath, extra: []extra{{field: 1, show: appendOpenFlags}}, slots: []slot{{0, 0, 256}}},
	MmapExec: {Name: "mmap_exec", Label: "DL", Doc: "A file was mapped executable.", Fields: []Field{
		{"path", Text, Text0, "whole path of the mapped file"},
	}, text: textPath, slots: []slot{{0, 0, 256}}},
	Dlopen: {Name: "dlopen", Label: "DL", Severity: High, Doc: "The program asked for a shared library.", Fields: []Field{
		{"path", Text, Text0, "as given to dlopen"},
	}, text: textPath, slots: []slot{{0, 0, 256}}},
	SockConnect: {Name: "sock_connect", Label: "LSM", Doc: "A socket was connected.", Fields: []Field{
		{"family", Uint, Num0, "address family (AF_*)"},
		{"addr", Text, Addr0, "IP address in text form; absent for other families"},
		{"port", Uint, Num1, "port; absent for families without one"},
		{"path", Text, Text1, "AF_UNIX: the socket's path, an abstract name with a leading @"},
	}, text: textConnect, extra: []extra{{field: 3, show: showQuoted}}, slots: []slot{{0, 0, 2}}, decode: decodeConnect, encode: encodeConnect},
	OddSocket: {Name: "odd_socket", Label: "LSM", Doc: "A socket that is not a plain TCP or UDP one was made.", Fields: []Field{
		{"family", Uint, Num0, "address family (AF_*)"},
		{"socktype", Uint, Num1, "socket type (SOCK_*) without its flags"},
		{"protocol", Uint, Num2, "protocol number"},
	}, text: textSocket, slots: []slot{{0, 0, 2}, {1, 2, 2}, {2, 4, 2}}},
	DNSReq: {Name: "dns_req", Label: "TP", Doc: "A DNS question was sent to port 53.", Fields: []Field{
		{"qname", Text, Derived, "the name asked for, without the final dot"},
		{"qtype", Text, Derived, "the question's type (A, AAAA, ...; TYPEn)"},
		{"addr", Text, Addr1, "the server's IP address"},
	}, text: textDNS, extra: []extra{{field: 1}, {field: 2}}, decode: decodeDNS, encode: encodeDNS},
	ProcFork: {Name: "proc_fork", Label: "TP", Doc: "A process or thread was made.", Fields: []Field{
		{"child_pid", Uint, Num0, "process id of the child"},
		{"child_tid", Uint, Num1, "thread id of the child; another than child_pid: a new thread"},
		{"child_span_id", Uint, Num2, "span id given to the child"},
	}, text: textFork, extra: []extra{{field: 2, show: showSpanID}}, slots: []slot{{2, 8, 8}}, decode: decodeFork, encode: encodeFork},
	ProcExec: {Name: "proc_exec", Label: "TP", Doc: "A program was executed, or its execution failed.", Fields: []Field{
		{"path", Text, Text0, "file executed, as the kernel resolved it"},
		{"argv", List, Args1, "arguments, argv[0] first"},
		{"argc", Uint, Num0, "number of arguments, also when argv was cut"},
		{"old_tid", Uint, Num1, "thread that called exec; present when it was not the leader"},
	}, text: textExec, extra: []extra{{field: 2, cut: true}, {field: 3}}, slots: []slot{{0, 0, 64}}, decode: decodeExec, encode: encodeExec},
	ProcExit: {Name: "proc_exit", Label: "EVT", Doc: "A thread ended.", Fields: []Field{
		{"exit_code", Int, Num0, "exit status, 0..255"},
		{"signal", Int, Num1, "signal that killed it; absent: none"},
	}, text: textExit},
	PtraceCheck: {Name: "ptrace_check", Label: "LSM", Severity: High, Doc: "Access to another process's memory was asked for.", Fields: []Field{
		{"mode", Uint, Num0, "PTRACE_MODE_* bits"},
		{"target_pid", Uint, Num1, "process concerned"},
	}, text: textPtrace, extra: []extra{{field: 1}}, slots: []slot{{0, 0, 4}}},
	SbMount: {Name: "sb_mount", Label: "LSM", Severity: High, Doc: "A file system was mounted or moved.", Fields: []Field{
		{"flags", Uint, Num0, "mount flags (MS_*)"},
		{"dev", Text, Derived, "device or source"},
		{"fstype", Text, Derived, "file system type"},
		{"path", Text, Text1, "mount point"},
	}, text: textMount, extra: []extra{{field: 3, show: showQuoted}}, slots: []slot{{0, 0, 8}, {1, 8, 120}, {2, 128, 120}}},
	KernelReadFile: {Name: "kernel_read_file", Label: "LSM", Severity: High, Doc: "The kernel was made to read a file: a module, firmware, a kexec image.", Fields: []Field{
		{"id", Uint, Num0, "enum kernel_read_file_id"},
		{"contents", Uint, Num1, "1 when the whole contents are read at once"},
		{"path", Text, Text0, "file read"},
		{"id_name", Text, Derived, "name of id"},
	}, text: textReadFile, extra: []extra{{field: 2, show: showQuoted}, {field: 3}}, slots: []slot{{0, 0, 4}, {1, 4, 4}}},
	TaskKill: {Name: "task_kill", Label: "LSM", Severity: High, Doc: "A signal was sent.", Fields: []Field{
		{"sig", Int, Num0, "signal number"},
		{"sig_name", Text, Derived, "its name without SIG"},
		{"target_pid", Int, Num1, "process it was sent to; negative: a process group"},
	}, text: textKill, extra: []extra{{field: 2}}, slots: []slot{{0, 0, 4}}},
	SetidChange: {Name: "setid_change", Label: "LSM", Severity: High, Doc: "User or group ids were changed.", Fields: []Field{
		{"flags", Uint, Num0, "LSM_SETID_* bits"},
		{"old_ids", Text, Derived, "ids before: real,effective,saved,fs"},
		{"new_ids", Text, Derived, "ids after: real,effective,saved,fs"},
		{"group", Bool, Num1, "true for group ids"},
	}, text: textSetid, extra: []extra{{field: 1}, {field: 2}, {field: 3}}, slots: []slot{{0, 0, 4}}},
	CapableCheck: {Name: "capable_check", Label: "LSM", Severity: High, Doc: "A high-risk capability was tested.", Fields: []Field{
		{"cap", Uint, Num0, "capability number"},
		{"cap_name", Text, Derived, "its name"},
		{"opts", Uint, Num1, "CAP_OPT_* bits"},
	}, text: textCapable, slots: []slot{{0, 0, 4}, {2, 4, 4}}},
	BprmCreds: {Name: "bprm_creds", Label: "LSM", Severity: High, Doc: "A program's credentials were computed for an exec.", Fields: []Field{
		{"has_file", Uint, Num0, "1 when the program has a file"},
		{"path", Text, Text0, "the program's file"},
		{"setuid", Bool, Num1, "the file has the setuid bit"},
		{"setgid", Bool, Num2, "the file has the setgid bit"},
	}, text: textBprm, extra: []extra{{field: 2}, {field: 3}}, slots: []slot{{0, 0, 1}, {1, 1, 255}}},
	FileSymlink: {Name: "file_symlink", Label: "LSM", Doc: "A symbolic link was made.", Fields: []Field{
		{"target", Text, Text0, "what the link says"},
		{"path", Text, Text1, "the new link"},
	}, text: textSymlink, slots: []slot{{0, 0, 128}, {1, 128, 128}}},
	FileHardlink: {Name: "file_hardlink", Label: "LSM", Doc: "A hard link was made.", Fields: []Field{
		{"old_path", Text, Text0, "the existing file"},
		{"path", Text, Text1, "the new name"},
	}, text: textHardlink, slots: []slot{{0, 0, 128}, {1, 128, 128}}},
	FileRename: {Name: "file_rename", Label: "LSM", Doc: "A file was renamed.", Fields: []Field{
		{"old_path", Text, Text0, "the name before"},
		{"path", Text, Text1, "the name after"},
	}, text: textRename, slots: []slot{{0, 0, 128}, {1, 128, 128}}},
	FileUnlink: {Name: "file_unlink", Label: "EVT", Doc: "A file or directory was removed.", Fields: []Field{
		{"path", Text, Text0, "the removed name"},
	}, text: textUnlink, decode: decodeUnlink, encode: encodeUnlink},
	FileChmod: {Name: "file_chmod", Label: "LSM", Doc: "Permission bits were changed.", Fields: []Field{
		{"mode", Uint, Num0, "new mode bits"},
		{"path", Text, Text0, "the file"},
	}, text: textChmod, slots: []slot{{0, 0, 2}, {1, 2, 254}}},
	FileGetdents: {Name: "file_getdents", Label: "TP", Doc: "A directory was listed.", Fields: []Field{
		{"fd", Uint, Num0, "file descriptor"},
		{"count", Uint, Num1, "size of the caller's buffer, bytes"},
		{"path", Text, Text0, "the directory"},
	}, text: textGetdents, extra: []extra{{field: 2, show: showQuoted}}, slots: []slot{{0, 0, 4}, {1, 4, 4}}},
	SSLWrite: {Name: "ssl_write", Label: "SSL", Doc: "Plaintext was given to a TLS library.", Fields: []Field{
		{"len", Uint, Num0, "bytes written by the program"},
		{"captured", Uint, Num1, "bytes of them that were read"},
		{"summary", Text, Derived, "HTTP/1 or HTTP/2 summary"},
		{"conn", Uint, Num2, "connection, unique within the process"},
		{"data", Text, Derived, "the captured bytes (only with --tls-data, or from a capture)"},
	}, text: textTLS, extra: []extra{{field: 3}}, slots: []slot{{0, 0, 4}}, decode: decodeTLS, encode: encodeTLS},
	EnvCaccess: {Name: "env_caccess", Label: "EVT", Doc: "An environment variable was read or changed.", Fields: []Field{
		{"op", Text, Text0, "function: getenv, setenv, ..."},
		{"key", Text, Text1, "the variable's name, never its value"},
	}, text: textEnv, slots: []slot{{0, 0, 16}, {1, 16, 240}}, decode: decodeEnv},
	SpanStart: {Name: "span_start", Label: "USDT", Doc: "A method began.", Fields: []Field{
		{"name", Text, Text0, "method"},
		{"file", Text, Text1, "source file"},
		{"line", Int, Num0, "source line"},
		{"source", Text, Derived, "usdt, marker or uprobe"},
	}, text: textSpan, slots: []slot{{0, 0, 128}, {1, 128, 120}, {2, 248, 8}}, decode: decodeSpan},
	SpanStop: {Name: "span_stop", Label: "USDT", Doc: "A method ended.", Fields: []Field{
		{"name", Text, Text0, "method"},
		{"file", Text, Text1, "source file"},
		{"line", Int, Num0, "source line"},
		{"source", Text, Derived, "usdt, marker or uprobe"},
	}, text: textSpan, slots: []slot{{0, 0, 128}, {1, 128, 120}, {2, 248, 8}}, decode: decodeSpan},
	SpanRaise: {Name: "span_raise", Label: "EXCP", Doc: "An exception was raised.", Fields: []Field{
		{"error", Text, Text0, "exception class"},
		{"message", Text, Derived, "its message"},
		{"file", Text, Text1, "source file"},
		{"line", Int, Num0, "source line"},
		{"source", Text, Derived, "usdt or marker"},
	}, text: textRaise, extra: []extra{{field: 4}}, slots: []slot{{0, 0, 80}, {1, 80, 80}, {2, 160, 80}, {3, 240, 8}}, decode: decodeSpan},
}

// Lookup returns the kind of that name, or nil.
func Lookup(name []byte) *Kind { return byName[string(name)] }

var byName = func() map[string]*Kind {
	m := make(map[string]*Kind, len(Kinds))
	for i := range Kinds {
		m[Kinds[i].Name] = &Kinds[i]
	}
	return m
}()
