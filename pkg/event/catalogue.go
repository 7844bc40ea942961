package event

// ID is a kind's number in records of the BPF programs (enum kind,
// which is made from this list) and its index in Kinds.
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
	FileTruncate
	FileGetdents
	SSLWrite
	EnvCaccess
	SpanStart
	SpanStop
	SpanRaise
	SockOutcome
	NumKinds
)

// Kinds is the catalogue, indexed by ID. Its rows are in the files of their
// families.
var Kinds = catalogue(files, libraries, network, processes, authority, spans)

func catalogue(families ...[]Kind) (kinds [NumKinds]Kind) {
	for _, family := range families {
		for _, k := range family {
			kinds[k.ID] = k
		}
	}
	return kinds
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
