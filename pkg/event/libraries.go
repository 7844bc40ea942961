package event

// Fields of the events of libraries.
const (
	MmapExecPath = iota
)
const (
	DlopenPath = iota
)
const (
	SSLWriteLen = iota
	SSLWriteCaptured
	SSLWriteSummary
	SSLWriteConn
	SSLWriteData
)
const (
	EnvCaccessOp = iota
	EnvCaccessKey
)

var libraries = []Kind{
	{ID: MmapExec, Name: "mmap_exec", Label: "DL", Doc: "A file was mapped executable.", Fields: []Field{
		MmapExecPath: {"path", Text, Text0, "whole path of the mapped file", "/usr/lib/libssl.so.3"},
	}, text: textMmapExec},
	{ID: Dlopen, Name: "dlopen", Label: "DL", Severity: High, Doc: "The program asked for a shared library.", Fields: []Field{
		DlopenPath: {"path", Text, Text0, "as given to dlopen", "libssl.so.3"},
	}, text: textDlopen},
	{ID: SSLWrite, Name: "ssl_write", Label: "SSL", Doc: "Plaintext was given to a TLS library.", Fields: []Field{
		SSLWriteLen:      {"len", Uint, Num0, "bytes written by the program", 78},
		SSLWriteCaptured: {"captured", Uint, Num1, "bytes of them that were read", 78},
		SSLWriteSummary:  {"summary", Text, Derived, "HTTP/1 or HTTP/2 summary", "GET /index.html HTTP/1.1"},
		SSLWriteConn:     {"conn", Uint, Num2, "connection, unique within the process", 1},
		SSLWriteData:     {"data", Text, Derived, "the captured bytes (only with --tls-data, or from a capture)", nil},
	}, text: textTLS, extra: []extra{{field: SSLWriteConn}}},
	{ID: EnvCaccess, Name: "env_caccess", Label: "EVT", Doc: "An environment variable was read or changed.", Fields: []Field{
		EnvCaccessOp:  {"op", Text, Derived, "function: getenv, setenv, ...", "getenv"},
		EnvCaccessKey: {"key", Text, Text0, "the variable's name, never its value", "HOME"},
	}, text: textEnv, derive: deriveEnv},
}

func textMmapExec(b []byte, ev *Event) []byte { return ev.quote(b, "", MmapExecPath) }

func textDlopen(b []byte, ev *Event) []byte { return ev.quote(b, "", DlopenPath) }

func textTLS(b []byte, ev *Event) []byte {
	if s := ev.Fields[SSLWriteSummary].Text; len(s) > 0 {
		return ev.unquoted(b, s)
	}
	if ev.Fields[SSLWriteLen].Num == 0 {
		return append(b, "data_len=0"...)
	}
	return append(ev.dec(b, "len=", SSLWriteLen), " <no-capture>"...)
}

func textEnv(b []byte, ev *Event) []byte {
	op, key := ev.Fields[EnvCaccessOp].Text, ev.Fields[EnvCaccessKey]
	b = append(b, "op="...)
	at := len(b)
	b = foldRuns(ev.unquoted(b, op), at)
	if n := len(b); n > at && b[n-1] == ' ' {
		b = b[:n-1]
	}
	if key.Type == None {
		return b
	}
	return ev.quoted(append(b, " key="...), key.Text)
}

// keyMax is how much of a variable's name a record holds, bytes.
const keyMax = 255

// A record has a number for the function, and the key with NULs behind it.
func deriveEnv(ev *Event, raw *Raw) {
	if raw.Call == "" {
		return
	}
	ev.setName(EnvCaccessOp, raw.Call, raw)
	key := &ev.Fields[EnvCaccessKey]
	key.Text = CString(key.Text)
	ev.Truncated = ev.Truncated || len(key.Text) == keyMax
}
