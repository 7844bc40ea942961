package cmethod

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"

	velf "vivarium/pkg/probe/elf"
)

// The bounds of what is read from a file.
const (
	maxImage     = 64 << 20  // bytes of code and constants; Ruby has 4 MiB
	maxNames     = 64 << 20  // bytes of names of dynamic symbols that are looked through
	maxTable     = 4 << 20   // bytes of a table that is read as a whole: symbols, names, relocations, functions
	maxFunction  = 1 << 20   // bytes of a function
	maxCalls     = 4 << 20   // what looks like a call or jump in all of the code
	maxDecoded   = 4 << 20   // instructions decoded
	maxKept      = 256 << 10 // instructions of functions that define something; Ruby has 20,000
	maxRun       = 8 << 20   // instructions run through, and what is kept between them
	maxFollowed  = 8 << 20   // jumps out of functions, for all ends
	maxPlaces    = 8192      // that a function jumps to or has behind a jump
	maxText      = 255       // bytes of a name
	maxFunctions = 1024      // that one function can end in
	maxEnds      = 4096      // of one function
)

// ErrFormat is a file that is no usable ELF file for x86-64.
var ErrFormat = errors.New("not a usable ELF file")

// ErrBlind is a function that cannot be followed to all its ends: it jumps to
// what only a run of it tells, or has code that is not understood.
var ErrBlind = errors.New("not all ends of the function can be told")

// File is a library or program that defines methods. It is for one goroutine.
type File struct {
	elf      *elf.File
	symbols  map[string]uint64   // functions and variables that the file has
	named    map[uint64][]string // the names of an address, of those that mean something here
	segments []segment           // what is not written to
	slots    map[uint64]slot     // what the loader stores where
	linkage  []span              // the procedure linkage tables
	starts   []uint64            // of functions, sorted
	frames   []uint64            // their records
	bodies   map[uint64]*body    // by start
	decoded  int                 // so many instructions
	run      int
	followed int            // so many jumps out of functions
	uses     map[uint64]int // calls of a function, and jumps to it; nil: not counted
	defs     []definition
	analyzed bool
	err      error
}

type segment struct {
	addr uint64
	data []byte
	code bool
}

// span is a range of addresses.
type span struct{ start, end uint64 }

// slot is what the loader stores at an address: the address of a symbol, or one
// in the file.
type slot struct {
	name string
	addr uint64 // 0: in another file
}

// Open looks whether a file has methods. A file that neither has nor imports
// rb_define_method is nil without an error, which is told from the names of its
// dynamic symbols alone. The ELF file must stay open while the result is used.
func Open(e *elf.File) (*File, error) {
	if e.Class != elf.ELFCLASS64 || e.Data != elf.ELFDATA2LSB || e.Machine != elf.EM_X86_64 {
		return nil, nil
	}
	table := e.SectionByType(elf.SHT_DYNSYM)
	if table == nil || int(table.Link) >= len(e.Sections) {
		return nil, nil
	}
	names := e.Sections[table.Link]
	if found, err := velf.Contains(names, "rb_define_method\x00", maxNames); err != nil || !found {
		return nil, err
	}
	f := &File{elf: e, symbols: map[string]uint64{}, named: map[uint64][]string{}, slots: map[uint64]slot{}, bodies: map[uint64]*body{}}
	text, err := content(names)
	if err != nil {
		return nil, err
	}
	raw, err := content(table)
	if err != nil {
		return nil, err
	}
	all := make([]slot, 0, len(raw)/24)
	isRuby := false
	for ; len(raw) >= 24; raw = raw[24:] { // struct Elf64_Sym
		var s slot
		if at := binary.LittleEndian.Uint32(raw); uint64(at) < uint64(len(text)) {
			s.name = cText(text[at:])
		}
		if binary.LittleEndian.Uint16(raw[6:]) != uint16(elf.SHN_UNDEF) {
			s.addr = binary.LittleEndian.Uint64(raw[8:])
		}
		all = append(all, s)
		isRuby = isRuby || s.name == "rb_define_method"
		if s.addr != 0 && s.name != "" {
			f.symbols[s.name] = s.addr
			_, ok := known[s.name]
			if ok = ok || variables[s.name] != "" || s.name == notImplemented; ok && !slices.Contains(f.named[s.addr], s.name) {
				f.named[s.addr] = append(f.named[s.addr], s.name)
			}
		}
	}
	if !isRuby {
		return nil, nil
	}
	if err := f.relocations(all); err != nil {
		return nil, err
	}
	for _, s := range e.Sections {
		if strings.HasPrefix(s.Name, ".plt") && len(f.linkage) < 8 {
			f.linkage = append(f.linkage, span{s.Addr, s.Addr + s.Size})
		}
	}
	if err := f.load(); err != nil {
		return nil, err
	}
	if err := f.functions(); err != nil {
		return nil, err
	}
	return f, nil
}

// Symbol is the address of a function that the file has for others.
func (f *File) Symbol(name string) (uint64, bool) {
	addr, ok := f.symbols[name]
	return addr, ok && f.isCode(addr)
}

// Directories are those in which the Ruby that the file is looks for its own
// files: the absolute paths among its constants in which "ruby" is part of. An
// extension has none.
func (f *File) Directories() []string {
	if _, ok := f.symbols["rb_define_method"]; !ok {
		return nil
	}
	const most = 64
	var dirs []string
	for _, s := range f.segments {
		if s.code {
			continue
		}
		for text := range bytes.SplitSeq(s.data, []byte{0}) {
			if len(text) > 1 && len(text) <= maxText && text[0] == '/' && bytes.Contains(text, []byte("ruby")) && len(dirs) < most {
				dirs = append(dirs, string(text))
			}
		}
	}
	return dirs
}

// relocations reads what the loader stores where.
func (f *File) relocations(symbols []slot) error {
	for _, s := range f.elf.Sections {
		if s.Type != elf.SHT_RELA || s.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		raw, err := content(s)
		if err != nil {
			return err
		}
		for ; len(raw) >= 24; raw = raw[24:] { // struct Elf64_Rela
			at, info, addend := binary.LittleEndian.Uint64(raw), binary.LittleEndian.Uint64(raw[8:]), binary.LittleEndian.Uint64(raw[16:])
			switch elf.R_X86_64(uint32(info)) {
			case elf.R_X86_64_JMP_SLOT, elf.R_X86_64_GLOB_DAT, elf.R_X86_64_64:
				if i := info >> 32; i > 0 && i < uint64(len(symbols)) && addend == 0 {
					f.slots[at] = symbols[i]
				}
			case elf.R_X86_64_RELATIVE:
				f.slots[at] = slot{addr: addend}
			}
		}
	}
	return nil
}

// load reads the code and the constants.
func (f *File) load() error {
	size := 0
	for _, p := range f.elf.Progs {
		if p.Type != elf.PT_LOAD || p.Flags&elf.PF_W != 0 || p.Filesz == 0 {
			continue
		}
		if p.Filesz > uint64(maxImage-size) || p.Vaddr > 1<<47 {
			return fmt.Errorf("%w: more than %d MiB of code and constants", ErrFormat, maxImage>>20)
		}
		data := make([]byte, p.Filesz)
		if _, err := p.ReaderAt.ReadAt(data, 0); err != nil && err != io.EOF {
			return fmt.Errorf("%w: %v", ErrFormat, err)
		}
		size += len(data)
		f.segments = append(f.segments, segment{p.Vaddr, data, p.Flags&elf.PF_X != 0})
	}
	return nil
}

// bytes is what is at an address, to the end of its segment; nil: nothing that
// is known.
func (f *File) bytes(addr uint64) []byte {
	for _, s := range f.segments {
		if off := addr - s.addr; off < uint64(len(s.data)) {
			return s.data[off:]
		}
	}
	return nil
}

func (f *File) isCode(addr uint64) bool {
	for _, s := range f.segments {
		if s.code && addr-s.addr < uint64(len(s.data)) {
			return true
		}
	}
	return false
}

// text is the name at an address.
func (f *File) text(addr uint64) string { return cText(f.bytes(addr)) }

// cText is the text at the beginning of b; "": none, or too long a one.
func cText(b []byte) string {
	b = b[:min(len(b), maxText+1)]
	text := velf.CString(b)
	if len(text) == len(b) {
		return ""
	}
	return string(text)
}

// functions reads the table of functions, which is for who unwinds the stack
// (Linux Standard Base, Exception Frames). A part of a function that the
// compiler moved away is a function there.
func (f *File) functions() error {
	var addr uint64
	for _, p := range f.elf.Progs {
		if p.Type == elf.PT_GNU_EH_FRAME {
			addr = p.Vaddr
		}
	}
	h := f.bytes(addr)
	if addr == 0 || len(h) < 12 || h[0] != 1 || h[1] != 0x1b || h[2] != 3 || h[3] != 0x3b {
		return fmt.Errorf("%w: no table of functions", ErrFormat)
	}
	n := uint64(binary.LittleEndian.Uint32(h[8:]))
	h = h[12:]
	if n > uint64(len(h)/8) || 8*n > maxTable {
		return fmt.Errorf("%w: the table of functions is cut", ErrFormat)
	}
	f.starts, f.frames = make([]uint64, n), make([]uint64, n)
	for i := range f.starts {
		f.starts[i] = addr + uint64(int64(int32(binary.LittleEndian.Uint32(h[8*i:]))))
		f.frames[i] = addr + uint64(int64(int32(binary.LittleEndian.Uint32(h[8*i+4:]))))
	}
	if !slices.IsSorted(f.starts) {
		return fmt.Errorf("%w: the table of functions is not sorted", ErrFormat)
	}
	return nil
}

// function finds the function that an address is in.
func (f *File) function(addr uint64) (start uint64, code []byte, ok bool) {
	i := sort.Search(len(f.starts), func(i int) bool { return f.starts[i] > addr }) - 1
	if i < 0 {
		return 0, nil, false
	}
	start = f.starts[i]
	size, ok := f.size(start, f.frames[i])
	if !ok || size > maxFunction || addr-start >= size {
		return 0, nil, false
	}
	code = f.bytes(start)
	if uint64(len(code)) < size || !f.isCode(start) {
		return 0, nil, false
	}
	return start, code[:size], true
}

// isStart reports whether a function begins at the address.
func (f *File) isStart(addr uint64) bool {
	_, ok := slices.BinarySearch(f.starts, addr)
	return ok
}

// size reads a function's size in bytes from its record.
func (f *File) size(start, frame uint64) (uint64, bool) {
	fde := f.bytes(frame)
	if len(fde) < 16 {
		return 0, false
	}
	back := binary.LittleEndian.Uint32(fde[4:])
	if back == 0 || !f.plainFrames(f.bytes(frame+4-uint64(back))) {
		return 0, false
	}
	if frame+8+uint64(int64(int32(binary.LittleEndian.Uint32(fde[8:])))) != start {
		return 0, false
	}
	return uint64(binary.LittleEndian.Uint32(fde[12:])), true
}

// plainFrames reports whether the records that begin as this one says have
// addresses of 4 bytes, relative to themselves.
func (f *File) plainFrames(cie []byte) bool {
	if len(cie) < 9 || binary.LittleEndian.Uint32(cie[4:]) != 0 {
		return false
	}
	version := cie[8]
	augmentation := cText(cie[9:])
	if version != 1 && version != 3 || len(augmentation) > 8 || len(augmentation) == 0 || augmentation[0] != 'z' {
		return false
	}
	b := cie[9+len(augmentation)+1:]
	for range 4 { // two alignments, the register with the return address, the size of what follows
		n := slices.IndexFunc(b[:min(len(b), 10)], func(c byte) bool { return c < 0x80 })
		if n < 0 {
			return false
		}
		b = b[n+1:]
	}
	for _, c := range augmentation[1:] {
		if len(b) < 6 {
			return false
		}
		switch c {
		case 'R':
			return b[0] == 0x1b
		case 'L':
			b = b[1:]
		case 'P':
			switch b[0] & 0xf {
			case 3, 0xb:
				b = b[5:]
			default:
				return false
			}
		case 'S', 'B':
		default:
			return false
		}
	}
	return false
}

// content is what is in a section.
func content(s *elf.Section) ([]byte, error) {
	b, err := velf.Content(s, maxTable)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrFormat, err)
	}
	return b, nil
}
