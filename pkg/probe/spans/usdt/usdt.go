// Package usdt finds the statically defined tracing probes of executables and
// libraries, and where the arguments of each lie when it fires.
//
// A probe site is a nop in the code and a note about it in the section
// .note.stapsdt: its address, provider, name, the address of a counter (the
// semaphore) that is above zero while anybody listens, and one operand per
// argument in the syntax of the machine's assembler.
package usdt

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"

	velf "vivarium/pkg/probe/elf"
)

// The bounds of what is read from a file.
const (
	MaxNotes = 16 << 20 // bytes of notes; libraries have some kilobytes
	MaxSites = 65536
	MaxArgs  = 12   // of a probe; <sys/sdt.h> allows no more
	maxText  = 4096 // bytes of a provider, a name, and all operands together
)

// Site is one place at which a probe fires. A probe can have several.
type Site struct {
	Provider, Name string
	Offset         uint64 // of the instruction in the file, bytes
	Semaphore      uint64 // of its 2-byte counter in the file, bytes; 0: none
	Args           []Arg
}

// ErrFormat is a file that is no ELF file of this machine's kind, or one whose
// notes are broken.
var ErrFormat = errors.New("not a usable ELF file")

// Read returns the sites of all providers that want says yes to, in the order
// of the notes. A file without probes has none, and no error. Nor is one whose
// place is not in the code, as of a function that the linker left out. What is
// read of f's sections is bounded; f's headers are in memory already.
func Read(f *elf.File, want func(provider string) bool) (sites []Site, err error) {
	var parse func(string) (Arg, error)
	switch f.Machine {
	case elf.EM_X86_64:
		parse = ParseX86
	case elf.EM_AARCH64:
		parse = ParseARM64
	default:
		return nil, fmt.Errorf("%w: machine %v", ErrFormat, f.Machine)
	}
	if f.Class != elf.ELFCLASS64 || f.ByteOrder != binary.LittleEndian {
		return nil, fmt.Errorf("%w: not 64-bit little-endian", ErrFormat)
	}
	notes := f.Section(".note.stapsdt")
	if notes == nil || notes.Type != elf.SHT_NOTE {
		return nil, nil
	}
	if notes.FileSize > MaxNotes || notes.Flags&elf.SHF_COMPRESSED != 0 {
		return nil, fmt.Errorf("%w: %d bytes of probe notes", ErrFormat, notes.FileSize)
	}
	data, err := velf.Content(notes, MaxNotes)
	if err != nil {
		return nil, fmt.Errorf("%w: probe notes: %v", ErrFormat, err)
	}
	var base uint64 // where the linker, or prelink, moved what the notes say
	if s := f.Section(".stapsdt.base"); s != nil {
		base = s.Addr
	}
	for len(data) > 0 {
		var n note
		if n, data, err = nextNote(data); err != nil {
			return nil, err
		}
		if n.provider == "" || !want(n.provider) {
			continue
		}
		if base != 0 {
			n.pc += base - n.base
			if n.semaphore != 0 {
				n.semaphore += base - n.base
			}
		}
		s := Site{Provider: n.provider, Name: n.name}
		var ok bool
		if s.Offset, ok = velf.Offset(f, n.pc); !ok {
			continue
		}
		if n.semaphore != 0 {
			if s.Semaphore, ok = velf.DataOffset(f, n.semaphore); !ok {
				continue
			}
		}
		if len(sites) == MaxSites {
			return nil, fmt.Errorf("%w: more than %d probe sites", ErrFormat, MaxSites)
		}
		for _, operand := range splitOperands(n.args) {
			a, err := parse(operand)
			if err != nil {
				a = Arg{} // Kind None: only who wants this one must do without
			}
			s.Args = append(s.Args, a)
		}
		sites = append(sites, s)
	}
	return sites, nil
}

type note struct {
	pc, base, semaphore  uint64
	provider, name, args string // provider is empty for a note of another kind
}

const noteType = 3 // NT_STAPSDT

// nextNote reads the first note of data.
func nextNote(data []byte) (n note, rest []byte, err error) {
	if len(data) < 12 {
		return n, nil, fmt.Errorf("%w: a probe note is cut", ErrFormat)
	}
	le := binary.LittleEndian
	nameSize, descSize, typ := uint64(le.Uint32(data)), uint64(le.Uint32(data[4:])), le.Uint32(data[8:])
	data = data[12:]
	namePad, descPad := (nameSize+3)&^3, (descSize+3)&^3
	if namePad+descSize > uint64(len(data)) {
		return n, nil, fmt.Errorf("%w: a probe note is cut", ErrFormat)
	}
	name, desc := data[:nameSize], data[namePad:namePad+descSize]
	rest = data[min(namePad+descPad, uint64(len(data))):]
	if typ != noteType || string(name) != "stapsdt\x00" {
		return n, rest, nil
	}
	if len(desc) < 24 {
		return n, nil, fmt.Errorf("%w: a probe note is short", ErrFormat)
	}
	n.pc, n.base, n.semaphore = le.Uint64(desc), le.Uint64(desc[8:]), le.Uint64(desc[16:])
	texts := bytes.SplitN(desc[24:], []byte{0}, 4)
	if len(texts) < 3 || len(texts[0]) == 0 {
		return n, nil, fmt.Errorf("%w: a probe note lacks a name", ErrFormat)
	}
	if max(len(texts[0]), len(texts[1]), len(texts[2])) > maxText {
		return n, nil, fmt.Errorf("%w: a probe note has a text of more than %d bytes", ErrFormat, maxText)
	}
	n.provider, n.name, n.args = string(texts[0]), string(texts[1]), string(texts[2])
	return n, rest, nil
}
