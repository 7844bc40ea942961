// Package wire reads what viv's BPF programs send: each of their records
// (bpf/lib/record.h) becomes one Message.
package wire

import (
	"vivarium/pkg/event"
)

// Type is what a record says.
type Type uint8

// The types of messages.
const (
	Event       Type = iota // something happened
	BadMarker               // a path begins with viv:// and is no marker
	FoundMarker             // a program has a method that is on the list
	Blind                   // a process began to do what the hooks do not show
	Library                 // a process can have another library now
	TLSEnd                  // a TLS connection is over
	TLSCork                 // what is written into it from now on is kept
	TLSUncork               // and is written from now on
	MethodJump              // methods of Ruby were left, those below StackPointer
	Root                    // RootPath is what RootID stands for
	Answerable              // seccomp or a tracer can answer the calls of a watched process
)

// Message is what one record says. Its zero value is ready for Decode.
type Message struct {
	Type Type
	Lost uint64 // records that did not fit in front of it, on its CPU

	// Event has of every record the time, the ids and the command's name, and of
	// an Event all that happened.
	Event event.Event
	ID    event.ID // of Event.Kind

	StackPointer uint64   // the thread's, if it may be in a method of Ruby; else 0
	Function     Function // whose call the Event is
	Undecided    bool     // the Event is of a method that the list does not have yet
	InMethod     bool     // the Event is wanted only in a method of Ruby that is recorded
	Data         []byte   // of an ssl_write: what was captured

	Entry uint32 // of FoundMarker: its place in the list, counted from 1; 0: it has the list

	// Of an Event OtherRoot says that its thread's root is not viv-probe's: RootID
	// stands for it, of which a Root has told; 0: that was lost.
	OtherRoot bool
	RootID    uint64
	RootPath  []byte // of Root: as viv-probe sees it

	Cause   string        // of Blind: what is not seen
	Changed LibraryChange // of Library
	Conn    uint64        // of TLSEnd, TLSCork, TLSUncork: the address of the connection's object

	raw event.Raw
}

// Function is the site of a function at which probes are.
type Function struct {
	Site               uint64 // counted from 1; 0: the event is of none
	StackFrom, StackTo uint64 // addresses of the stack that a method of Ruby begins on; 0: not known
}

// LibraryChange says which process can have another library.
type LibraryChange struct {
	PID    uint32
	Parent uint32 // the process that made it, or 0
	Exec   bool   // it runs another program
}

// The sources of span events.
var (
	SourceMarker   = []byte(event.SourceMarker)
	SourceUSDT     = []byte(event.SourceUSDT)
	SourceFunction = []byte(event.SourceFunction)
)
