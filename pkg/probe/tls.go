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
	corked        map[tlsConn]bool   // what is written into them is kept by the library; at most maxTLSConns
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

// written completes an ssl_write, of which data was captured. It returns false if
// the library keeps them, to write them, and be seen to, later.
func (t *tlsWrites) written(ev *event.Event, data []byte, opt *Options) bool {
	if t.corked[tlsConn{ev.PID, ev.Fields[event.SSLWriteConn].Num}] {
		return false
	}
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
	return true
}

// cork: the library keeps what is written into the connection. Of one that is too
// much, what is kept is shown, too.
func (t *tlsWrites) cork(pid uint32, addr uint64) {
	if t.corked == nil {
		t.corked = map[tlsConn]bool{}
	}
	if len(t.corked) < maxTLSConns {
		t.corked[tlsConn{pid, addr}] = true
	}
}

// uncork: it writes what it has kept, and does not keep anything from now on.
func (t *tlsWrites) uncork(pid uint32, addr uint64) { delete(t.corked, tlsConn{pid, addr}) }

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
	t.uncork(pid, addr)
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
	for c := range t.corked {
		if c.pid == pid {
			delete(t.corked, c)
		}
	}
}

// lost: writes may be missing from here on, or that they are not kept any more.
func (t *tlsWrites) lost() {
	t.dec.Lost()
	clear(t.corked)
}

// textValue is a field's value, or that there is none.
func textValue(b []byte) event.Value {
	if len(b) == 0 {
		return event.Value{}
	}
	return event.Value{Type: event.Text, Text: b}
}
