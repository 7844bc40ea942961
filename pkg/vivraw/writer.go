package vivraw

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"vivarium/pkg/stream"
)

// Writer writes records as captures, one for each session. Records from a capture are
// written byte for byte as they were. Of other events it writes what the format can
// hold: texts are cut to the size of their place, and `error` and the records of
// viv-spans are left out. Events of kinds that the format does not have are left out and
// counted.
//
// The header of a capture has the number of events. So a Writer keeps the events, 352
// bytes each, until the next session or Close.
type Writer struct {
	w       io.Writer
	leftOut map[string]uint64 // events by name
	session session
}

// session is the state of the current session of a Writer.
type session struct {
	begun  bool
	head   stream.Session
	end    stream.End
	ended  bool
	events []position
	data   []byte // the events' records
	lost   uint64 // events lost since the last event

}

// position is the position of an event.
type position struct {
	arrival uint64 // index in the capture
	at      int    // offset of its record in data
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w, leftOut: map[string]uint64{}} }

// Write adds a record of the stream. It ignores changes of keys: they are about spans,
// which the format does not have.
func (w *Writer) Write(rec *stream.Record, _ []stream.Set) error {
	s := &w.session
	var err error
	switch rec.Type {
	case stream.TypeSession:
		if err := w.finish(); err != nil {
			return err
		}
		s.begun = true
		s.head, err = rec.Session()
	case stream.TypeEvent:
		return w.event(rec)
	case stream.TypeLost:
		var l stream.Lost
		l, err = rec.Lost()
		s.lost = stream.AddCounts(s.lost, l.Count)
	case stream.TypeEnd:
		s.ended = true
		s.end, err = rec.End()
	}
	return err
}

// Flush does nothing: a session is written at its end.
func (w *Writer) Flush() error { return nil }

// Close writes the last session.
func (w *Writer) Close() error { return w.finish() }

// LeftOut lists the kinds of events that were left out so far, because a capture cannot
// hold them, with their numbers, for a message; empty: none.
func (w *Writer) LeftOut() string {
	var kinds []string
	for _, name := range slices.Sorted(maps.Keys(w.leftOut)) {
		kinds = append(kinds, fmt.Sprintf("%d %s", w.leftOut[name], name))
	}
	return strings.Join(kinds, ", ")
}

// The bounds of the list of kinds that are left out: a stream can have any number of
// names of any length.
const (
	maxLeftOut  = 64 // names
	maxLeftName = 64 // bytes of each
)

func (w *Writer) countLeftOut(name []byte) {
	name = name[:min(len(name), maxLeftName)]
	if _, ok := w.leftOut[string(name)]; !ok && len(w.leftOut) >= maxLeftOut {
		name = []byte("of other kinds")
	}
	w.leftOut[string(name)]++
}

func (w *Writer) event(rec *stream.Record) error {
	ev, err := rec.Event()
	if err != nil {
		return err
	}
	l := layoutOf(ev.Kind)
	if l == nil && len(ev.Origin) != PayloadSize {
		w.countLeftOut(ev.Name)
		return nil
	}
	s := &w.session
	e := position{uint64(len(s.events)), len(s.data)}
	b := s.data
	b = le.AppendUint64(b, ev.KtimeNS)
	for _, n := range []uint32{ev.PID, ev.TID, ev.UID, ev.GID} {
		b = le.AppendUint32(b, n)
	}
	b = le.AppendUint64(b, binary.BigEndian.Uint64(ev.TraceID[:8]))
	b = le.AppendUint64(b, binary.BigEndian.Uint64(ev.TraceID[8:]))
	id := ev.SpanID
	if own, ok := rec.Uint("thread_span_id"); ok { // viv-spans has replaced span_id
		id = own
	}
	b = le.AppendUint64(b, id)
	b = le.AppendUint64(b, ev.ParentSpanID)
	var fields [atLost - atNames]byte
	names, payload := fields[:2*nameSize], fields[2*nameSize:]
	copy(names[:nameSize], ev.Comm)
	copy(names[nameSize:], ev.Name)
	if raw, ok := rec.Bytes(keyNames); ok {
		copy(names, raw)
	}
	if len(ev.Origin) == PayloadSize {
		copy(payload, ev.Origin)
	} else {
		l.write(ev, payload)
	}
	b = append(b, fields[:]...)
	b = le.AppendUint64(b, s.lost)
	s.lost = 0
	if n, ok := rec.Uint(keyArrival); ok {
		e.arrival = n
	}
	s.events = append(s.events, e)
	s.data = b
	return nil
}

// finish writes the capture of the session.
func (w *Writer) finish() error {
	s := &w.session
	if !s.begun {
		return nil
	}
	if n := len(s.data); s.lost > 0 && n > 0 {
		// Lost after the last event. The format cannot express that, and the number is
		// more important than the position.
		last := s.data[n-8:]
		le.PutUint64(last, stream.AddCounts(le.Uint64(last), s.lost))
	}
	byArrival := func(a, b position) int { return cmp.Compare(a.arrival, b.arrival) }
	if !slices.IsSortedFunc(s.events, byArrival) {
		sorted := make([]byte, 0, len(s.data))
		slices.SortStableFunc(s.events, byArrival)
		for _, e := range s.events {
			sorted = append(sorted, s.data[e.at:e.at+recordSize]...)
		}
		s.data = sorted
	}
	_, err := w.w.Write(append(s.header(), '\n'))
	if err == nil {
		_, err = w.w.Write(append(s.data, s.end.Origin...))
	}
	*s = session{events: s.events[:0], data: s.data[:0]}
	return err
}

// header returns the JSON line: the session's own one, with a corrected event_count if a
// filter removed events, or a new one.
func (s *session) header() []byte {
	n := uint64(len(s.events))
	if line := s.head.Origin; line != nil {
		h, err := parseHeader(line)
		if err != nil || !h.hasCount || h.count == n || !s.ended || s.end.Cut {
			return line // an incomplete capture stays incomplete
		}
		return slices.Concat(line[:h.countBegin], strconv.AppendUint(nil, n, 10), line[h.countEnd:])
	}
	observer := s.head.ObserverPID
	if observer == 0 && len(s.head.Targets) > 0 {
		observer = s.head.Targets[0]
	}
	iso := func(ns int64) string { return time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000Z") }
	var b strings.Builder
	fmt.Fprintf(&b, `{"observer_pid":%d,"main_tid":%d,"session_start_iso":"%s","session_start_ktime":%d`,
		observer, cmp.Or(s.head.MainTID, observer), iso(s.head.StartUnixNS), s.head.StartKtimeNS)
	if s.ended {
		fmt.Fprintf(&b, `,"session_stop_iso":"%s","session_stop_ktime":%d`, iso(s.end.StopUnixNS), s.end.StopKtimeNS)
	}
	fmt.Fprintf(&b, `,"format":%q,"version":%d,"event_struct_size":%d,"event_count":%d}`, formatName, formatVersion, recordSize, n)
	return []byte(b.String())
}
