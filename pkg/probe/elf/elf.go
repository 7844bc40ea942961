// Package elf reads what viv needs of programs and libraries for x86-64. The
// files are those of watched programs and may be anything: what is read of one,
// and what it makes viv allocate, is bounded.
package elf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxSymbols bounds the bytes of a symbol table, and of its names, that are
// looked at. They are never in memory as a whole.
const maxSymbols = 256 << 20

var errNoProgram = errors.New("not a program or library for this machine")

// Open reads the headers of a program or library for this machine.
func Open(r io.ReaderAt) (f *elf.File, err error) {
	defer func() {
		// The file is the watched program's and may be anything.
		if e := recover(); e != nil {
			f, err = nil, fmt.Errorf("read ELF headers: %v", e)
		}
	}()
	if !modest(r) {
		return nil, errNoProgram
	}
	f, err = elf.NewFile(r)
	if err != nil {
		return nil, err
	}
	if f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB || f.Machine != elf.EM_X86_64 || f.Type != elf.ET_DYN && f.Type != elf.ET_EXEC {
		return nil, errNoProgram
	}
	return f, nil
}

// modest reports whether a file's headers and the names of its sections are few
// enough to be read: a sparse file can claim any number of them.
func modest(r io.ReaderAt) bool {
	var h [64]byte // struct Elf64_Ehdr
	if _, err := r.ReadAt(h[:], 0); err != nil {
		return false
	}
	const maxSegments = 128 // each is looked at for each address; programs have a dozen
	if n := binary.LittleEndian.Uint16(h[0x38:]); n > maxSegments || n > 0 && binary.LittleEndian.Uint16(h[0x36:]) != 56 {
		return false
	}
	headers := binary.LittleEndian.Uint64(h[0x28:])
	if headers == 0 {
		return true
	}
	if binary.LittleEndian.Uint16(h[0x3c:]) == 0 { // their number is elsewhere, and over 65,000
		return false
	}
	if binary.LittleEndian.Uint16(h[0x3a:]) != 64 {
		return false
	}
	var names [64]byte // struct Elf64_Shdr
	at := headers + 64*uint64(binary.LittleEndian.Uint16(h[0x3e:]))
	if at > 1<<62 {
		return false
	}
	_, err := r.ReadAt(names[:], int64(at))
	return err == nil && binary.LittleEndian.Uint64(names[0x20:]) <= 1<<20
}

// Offset is where in the file the code of an address lies.
func Offset(f *elf.File, addr uint64) (offset uint64, ok bool) {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && addr >= p.Vaddr && addr-p.Vaddr < p.Filesz {
			return addr - p.Vaddr + p.Off, true
		}
	}
	return 0, false
}

// DataOffset is where in the file a variable of an address lies, or would: the
// kernel counts on behind the end of the file.
func DataOffset(f *elf.File, addr uint64) (offset uint64, ok bool) {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_W != 0 && addr >= p.Vaddr && addr-p.Vaddr < p.Memsz {
			return addr - p.Vaddr + p.Off, true
		}
	}
	return 0, false
}

// Content is all of a section that is in the file and has no more than that many
// bytes.
func Content(s *elf.Section, most uint64) ([]byte, error) {
	if s.Type == elf.SHT_NOBITS || s.Flags&elf.SHF_COMPRESSED != 0 {
		return nil, fmt.Errorf("section %s is not in the file", s.Name)
	}
	if s.FileSize > most {
		return nil, fmt.Errorf("section %s has %d bytes, more than %d", s.Name, s.FileSize, most)
	}
	b := make([]byte, s.FileSize)
	// What the file does not have of it is zero.
	if _, err := s.ReaderAt.ReadAt(b, 0); err != nil && err != io.EOF {
		return nil, fmt.Errorf("read section %s: %w", s.Name, err)
	}
	return b, nil
}

// Contains reports whether a text is in a section, which is not read when it has
// more than that many bytes.
func Contains(s *elf.Section, text string, most uint64) (bool, error) {
	if s.FileSize > most || s.Flags&elf.SHF_COMPRESSED != 0 {
		return false, nil
	}
	buf := make([]byte, 64<<10)
	kept := 0
	for r := stream(s); ; {
		n, err := io.ReadFull(r, buf[kept:])
		b := buf[:kept+n]
		if bytes.Contains(b, []byte(text)) {
			return true, nil
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("read section %s: %w", s.Name, err)
		}
		kept = copy(buf, b[len(b)-min(len(text)-1, len(b)):])
	}
}

// stream is what is in a section of the file.
func stream(s *elf.Section) io.Reader {
	if s.Type == elf.SHT_NOBITS || s.FileSize > maxSymbols {
		return bytes.NewReader(nil)
	}
	// Not Data, which believes a size that the file does not have.
	return io.LimitReader(s.Open(), int64(s.FileSize))
}

// Text is what stands at a place in a table of texts, at most that many bytes.
func Text(table *elf.Section, at uint32, size int) string {
	if table.Type == elf.SHT_NOBITS || table.Flags&elf.SHF_COMPRESSED != 0 || uint64(at) >= table.FileSize {
		return ""
	}
	b := make([]byte, min(uint64(size), table.FileSize-uint64(at)))
	n, _ := table.ReadAt(b, int64(at)) // what the file does not have is not there
	return string(CString(b[:n]))
}

// CString is b up to its first NUL, or all of it.
func CString(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}
