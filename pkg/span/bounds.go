package span

// The bounds of the open spans of a Builder.
const (
	MaxOpen      = 65536 // in all
	MaxPerThread = 256   // of a thread, including its own span
)

// bounds has all bounds of a Builder. Tests use smaller ones.
type bounds struct {
	open      int // spans
	perThread int // spans of a thread
	text      int // bytes of names, files and sources of open method spans
	forked    int // forks without an event of the child
	ended     int // ended threads that are kept to recognise their late events
	walk      int // ancestors that are checked before a late parent is refused
}

var defaultBounds = bounds{open: MaxOpen, perThread: MaxPerThread, text: 16 << 20, forked: 16384, ended: 4096, walk: 1024}
