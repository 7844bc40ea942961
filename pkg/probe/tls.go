package probe

import (
	"vivarium/pkg/event"
	"vivarium/pkg/httpsummary"
	"vivarium/pkg/mask"
)

// tlsWrites makes the events of what programs write into TLS connections. The
// zero value is ready for use.
type tlsWrites struct {
	dec           httpsummary.Decoder
	recent, older map[tlsConn]uint64 // the connections' ids; at most maxTLSConns each
	last          uint64
	summary       []byte
}

// tlsConn is a connection while it lasts: the address of the library's object.
type tlsConn struct {
	pid  uint32
	addr uint64
}

// maxTLSConns is half of the connections that are told apart. One that was
// forgotten is a new one when it is seen again.
const maxTLSConns = 4096

// written completes an ssl_write, of which data was captured.
func (t *tlsWrites) written(ev *event.Event, data []byte, opt *Options) {
	t.dec.Live = true
	t.dec.Target = nil
	if !opt.NoMask {
		t.dec.Target = mask.AppendTarget
	}
	length, conn := ev.Fields[event.SSLWriteLen].Num, &ev.Fields[event.SSLWriteConn]
	conn.Num = t.id(tlsConn{ev.PID, conn.Num})
	t.summary = t.dec.AppendSummary(t.summary[:0], ev.PID, conn.Num, length, data)
	ev.Fields[event.SSLWriteSummary] = textValue(t.summary)
	if opt.TLSData {
		ev.Fields[event.SSLWriteData] = textValue(data)
	}
	ev.Truncated = uint64(len(data)) < length
}

func (t *tlsWrites) id(c tlsConn) uint64 {
	if id, ok := t.recent[c]; ok {
		return id
	}
	id, ok := t.older[c]
	if ok {
		delete(t.older, c)
	} else {
		t.last++
		id = t.last
	}
	if len(t.recent) >= maxTLSConns || t.recent == nil {
		t.older, t.recent = t.recent, map[tlsConn]uint64{}
	}
	t.recent[c] = id
	return id
}

// end: the object can be another connection's from now on.
func (t *tlsWrites) end(pid uint32, addr uint64) {
	delete(t.recent, tlsConn{pid, addr})
	delete(t.older, tlsConn{pid, addr})
}

// forget forgets the connections of a process whose memory is another one now:
// it was just made, by parent, or executes another program.
func (t *tlsWrites) forget(pid, parent uint32) {
	if pid == parent { // a thread
		return
	}
	for _, m := range []map[tlsConn]uint64{t.recent, t.older} {
		for c := range m {
			if c.pid == pid {
				delete(m, c)
			}
		}
	}
}

// lost: writes may be missing from here on.
func (t *tlsWrites) lost() { t.dec.Lost() }

// textValue is a field's value, or that there is none.
func textValue(b []byte) event.Value {
	if len(b) == 0 {
		return event.Value{}
	}
	return event.Value{Type: event.Text, Text: b}
}
