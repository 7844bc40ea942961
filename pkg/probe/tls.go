package probe

import (
	"vivarium/bpf"
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
func (t *tlsWrites) written(ev *event.Event, data []byte, opt Options) {
	t.dec.Live = true
	t.dec.Target = nil
	if !opt.NoMask {
		t.dec.Target = mask.AppendTarget
	}
	id := t.id(tlsConn{ev.PID, ev.Fields[3].Num})
	ev.Fields[3].Num = id
	t.summary = t.dec.AppendSummary(t.summary[:0], ev.PID, id, ev.Fields[0].Num, data)
	setText(ev, "summary", t.summary)
	if opt.TLSData {
		setText(ev, "data", data)
	}
	ev.Truncated = uint64(len(data)) < ev.Fields[0].Num
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

// inner does what a record for ourselves says.
func (r *recording) inner() error {
	d := &r.dec
	switch d.kind {
	case bpf.VivKindVIV_LIBRARY:
		if d.num[2] != 0 {
			r.tls.forget(r.ev.PID, 0)
		}
		pid, parent := int(d.num[0]), int(d.num[1])
		if pid == 0 { // none in our namespace
			break
		}
		if r.p.libs != nil {
			r.p.libs.watch(pid, parent)
		}
		if r.p.sites != nil {
			r.p.sites.changed(pid, parent, r.ev.KtimeNS)
		}
	case bpf.VivKindVIV_TLS_END:
		r.tls.end(r.ev.PID, d.num[2])
	case bpf.VivKindVIV_METHOD_JUMP:
		return r.leaveMethods(d.sp)
	}
	return nil
}
