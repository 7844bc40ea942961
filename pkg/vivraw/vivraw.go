// Package vivraw reads and writes vivarium-raw v2 captures, the format of
// vivarium 0.6.0. No other package depends on the format: programs that read captures
// pass Format to their stream.Reader.
//
// A capture is one line of JSON, and then records of 352 bytes, little-endian:
//
//	offset  size  field
//	0       8     ktime, ns (CLOCK_MONOTONIC)
//	8       4×4   pid, tid, uid, gid
//	24      2×8   trace id, its high half first
//	40      2×8   span id, parent span id
//	56      16    comm, up to its first NUL
//	72      16    name of the event, up to its first NUL
//	88      256   payload, laid out by the kind of the event
//	344     8     number of events that were lost before this one
//
// In the stream, the JSON line is the Origin of the session, the payload is the Origin
// of an event, and an incomplete last record is the Origin of the end record.
package vivraw

import (
	"cmp"
	"encoding/binary"

	"vivarium/pkg/stream"
)

// Format makes a stream.Reader read captures.
var Format = stream.Format{FirstByte: '{', Open: open, Policy: policy}

const (
	formatName    = "vivarium-raw"
	formatVersion = 2
	recordSize    = 352

	// Where the fields of a record begin.
	atPID     = 8
	atTID     = 12
	atUID     = 16
	atGID     = 20
	atTrace   = 24
	atSpan    = 40
	atParent  = 48
	atNames   = 56 // comm and event name, 16 bytes each
	atPayload = 88
	atLost    = 344

	nameSize  = 16
	maxHeader = stream.MaxRecord - 64<<10 // it must fit into a session record
)

// PayloadSize is the size of the payload of a record, bytes.
const PayloadSize = atLost - atPayload

// Keys of an event of a capture that are needed to write it again byte for byte. They
// are absent if they are not needed.
const (
	keyArrival = "arrival"   // its index in a capture that was not sorted
	keyNames   = "raw_names" // comm and event name, with the bytes after their NUL
)

var le = binary.LittleEndian

// sortKey is the sort key of events in a capture.
type sortKey struct {
	ktime    uint64
	pid, tid uint32
}

func sortKeyOf(rec []byte) sortKey {
	return sortKey{le.Uint64(rec), le.Uint32(rec[atPID:]), le.Uint32(rec[atTID:])}
}

func (k sortKey) compare(o sortKey) int {
	return cmp.Or(cmp.Compare(k.ktime, o.ktime), cmp.Compare(k.pid, o.pid), cmp.Compare(k.tid, o.tid))
}
