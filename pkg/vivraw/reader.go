package vivraw

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"vivarium/pkg/event"
	"vivarium/pkg/httpsummary"
	"vivarium/pkg/stream"
)

// capture converts a capture to records: a session with the JSON line, the events in
// order of (ktime, pid, tid), each with its payload, and the end. An event is preceded by
// a lost record if events were lost before it.
type capture struct {
	header header
	data   []byte   // complete records, in the order of the capture
	order  []uint32 // indexes of the events in time order; nil: data is in order
	tail   []byte   // incomplete last record
	cut    string   // how the capture was cut; empty: it is complete

	step     int    // 0: session, then the events, then the end
	lost     uint64 // so far
	lostSent bool   // the lost record before the event was returned
	newest   uint64 // ktime of the last event, ns
	tls      httpsummary.Decoder
	ev       event.Event
	derived  event.Raw // storage of its derived texts
	summary  []byte
	out      [2]stream.Writer // used alternately: the Reader holds two records
	turn     int
}

// open reads the whole capture, because it must be sorted. It allocates memory for the
// bytes that exist, not for the numbers in the header.
func open(in *stream.Input) (stream.Source, error) {
	var c capture
	line, whole, err := readLine(in)
	if err == nil {
		c.header, err = parseHeader(line)
	}
	if err != nil {
		return stream.Source{}, err
	}
	in.Take(len(line))
	if whole {
		in.Take(1)
	}
	if err := c.readRecords(in); err != nil {
		return stream.Source{}, err
	}
	n := c.count()
	switch {
	case !whole:
		c.cut = "inside its header"
	case c.header.hasCount && uint64(n) < c.header.count:
		c.cut = fmt.Sprintf("%d of %d records are there", n, c.header.count)
	case len(c.data)%recordSize != 0:
		c.cut = "inside a record"
	}
	c.data, c.tail = c.data[:n*recordSize], c.data[n*recordSize:]
	c.sort()
	source := stream.Source{Next: c.next, Cut: c.cut}
	if c.header.hasCount {
		source.Ends = fmt.Sprintf("its event_count is %d", c.header.count)
	}
	return source, nil
}

// readLine returns the line at the beginning of in without its newline, and
// whether there is one. It does not remove anything from in.
func readLine(in *stream.Input) (line []byte, whole bool, err error) {
	seen := 0
	for {
		b := in.Bytes()
		if i := bytes.IndexByte(b[seen:], '\n'); i >= 0 {
			return b[:seen+i], true, nil
		}
		if seen = len(b); seen > maxHeader {
			return nil, false, stream.FormatErrorf("invalid vivarium-raw capture: its header is longer than 16 MiB")
		}
		if err := in.More(); err == io.EOF {
			return in.Bytes(), false, nil
		} else if err != nil {
			return nil, false, err
		}
	}
}

// readRecords reads the number of records in the header, or else all records.
func (c *capture) readRecords(in *stream.Input) error {
	h := &c.header
	for !h.hasCount || uint64(c.count()) < h.count {
		b := in.Bytes()
		if h.hasCount && h.count < 1<<32 {
			if rest := h.count*recordSize - uint64(len(c.data)); uint64(len(b)) > rest {
				b = b[:rest] // what follows is another session
			}
		}
		c.data = append(c.data, b...)
		in.Take(len(b))
		if len(b) > 0 {
			continue
		}
		if err := in.More(); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	return nil
}

// count returns the number of complete records.
func (c *capture) count() int { return len(c.data) / recordSize }

func (c *capture) record(i int) []byte { return c.data[i*recordSize : (i+1)*recordSize] }

// sort sets order, unless the events are already in order.
func (c *capture) sort() {
	n := c.count()
	sorted := true
	for i := 1; i < n && sorted; i++ {
		sorted = sortKeyOf(c.record(i-1)).compare(sortKeyOf(c.record(i))) <= 0
	}
	if sorted {
		return
	}
	c.order = make([]uint32, n) // 2^32 records would be 1.5 TB
	for i := range c.order {
		c.order[i] = uint32(i)
	}
	slices.SortStableFunc(c.order, func(a, b uint32) int {
		return sortKeyOf(c.record(int(a))).compare(sortKeyOf(c.record(int(b))))
	})
}

// next returns the next record, valid until the call after the next one.
func (c *capture) next() ([]byte, error) {
	n := c.count()
	c.turn = 1 - c.turn
	w := &c.out[c.turn]
	w.Reset()
	switch {
	case c.step == 0:
		c.writeSession(w)
	case c.step <= n:
		i := c.step - 1
		if c.order != nil {
			i = int(c.order[i])
		}
		rec := c.record(i)
		if lost := le.Uint64(rec[atLost:]); lost > 0 && !c.lostSent {
			c.lostSent = true
			c.lost = stream.AddCounts(c.lost, lost)
			w.Lost(&stream.Lost{KtimeNS: sortKeyOf(rec).ktime, Count: lost, Cause: stream.CauseBufferFull})
			return w.Bytes(), nil
		}
		c.lostSent = false
		c.writeEvent(w, i)
	case c.step == n+1:
		c.writeEnd(w)
	default:
		return nil, io.EOF
	}
	c.step++
	return w.Bytes(), nil
}

func (c *capture) writeSession(w *stream.Writer) {
	h := &c.header
	s := stream.Session{
		Version: stream.Version, StartUnixNS: h.startUnix, StartKtimeNS: h.start,
		ObserverPID: uint32(h.observer), MainTID: uint32(h.mainTID), Origin: h.line,
	}
	if h.observer != 0 {
		s.Targets = []uint32{s.ObserverPID}
	}
	w.Session(&s)
}

func (c *capture) writeEnd(w *stream.Writer) {
	h := &c.header
	e := stream.End{
		StopUnixNS: h.stopUnix, StopKtimeNS: h.stop, Events: uint64(c.count()), Lost: c.lost,
		Reason: "capture", Cut: c.cut != "", Origin: c.tail,
	}
	if !h.hasStop {
		// Like vivarium: the time of the last event.
		e.StopKtimeNS = max(h.start, c.newest)
		if h.stopUnix == 0 {
			e.StopUnixNS = h.startUnix + int64(e.StopKtimeNS-h.start)
		}
	}
	w.End(&e)
}

// writeEvent writes the i-th event.
func (c *capture) writeEvent(w *stream.Writer, i int) {
	rec, ev := c.record(i), &c.ev
	ev.Reset()
	ev.KtimeNS = le.Uint64(rec)
	c.newest = ev.KtimeNS
	ev.PID, ev.TID = le.Uint32(rec[atPID:]), le.Uint32(rec[atTID:])
	ev.UID, ev.GID = le.Uint32(rec[atUID:]), le.Uint32(rec[atGID:])
	binary.BigEndian.PutUint64(ev.TraceID[:8], le.Uint64(rec[atTrace:]))
	binary.BigEndian.PutUint64(ev.TraceID[8:], le.Uint64(rec[atTrace+8:]))
	ev.SpanID, ev.ParentSpanID = le.Uint64(rec[atSpan:]), le.Uint64(rec[atParent:])
	names := rec[atNames:atPayload]
	ev.Comm, ev.Name = event.CString(names[:nameSize]), event.CString(names[nameSize:])
	ev.Origin = rec[atPayload:atLost]
	if ev.Kind = event.Lookup(ev.Name); ev.Kind != nil {
		if l := layoutOf(ev.Kind); l != nil {
			l.read(ev, ev.Origin)
		}
		c.derived.Buf = c.derived.Buf[:0]
		ev.Derive(&c.derived)
		c.summarize(ev)
	}
	var keys [2]stream.Set
	extra := keys[:0]
	if c.order != nil {
		extra = append(extra, stream.SetShortUint(keyArrival, uint64(i)))
	}
	if !padded(names[:nameSize], ev.Comm) || !padded(names[nameSize:], ev.Name) {
		extra = append(extra, stream.SetBytes(keyNames, names))
	}
	w.Event(ev, extra...)
}

// summarize sets the summary of an ssl_write. It must be called in order of time,
// because header compression has a state. A capture does not identify connections.
func (c *capture) summarize(ev *event.Event) {
	if ev.Is(event.SSLWrite) {
		length, data := ev.Fields[event.SSLWriteLen].Num, ev.Fields[event.SSLWriteData].Text
		c.summary = c.tls.AppendSummary(c.summary[:0], ev.PID, 0, length, data)
		ev.Fields[event.SSLWriteSummary] = event.Value{Type: event.Text, Text: c.summary}
	}
}

// padded reports whether field is text followed only by NULs.
func padded(field, text []byte) bool {
	return len(bytes.Trim(field[len(text):], "\x00")) == 0
}
