package probe

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxSymbols bounds the bytes of a symbol table, and of its names, that are
// looked at.
const maxSymbols = 256 << 20

var errNoProgram = errors.New("not a program or library for this machine")

// openELF reads the headers of a program or library for this machine.
func openELF(r io.ReaderAt) (f *elf.File, err error) {
	defer func() {
		// The file is the watched program's and may be anything.
		if e := recover(); e != nil {
			f, err = nil, fmt.Errorf("read ELF headers: %v", e)
		}
	}()
	f, err = elf.NewFile(r)
	if err != nil {
		return nil, err
	}
	if f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB || f.Machine != elf.EM_X86_64 || f.Type != elf.ET_DYN && f.Type != elf.ET_EXEC {
		return nil, errNoProgram
	}
	return f, nil
}

// functions finds the functions of these names that the file itself has, and
// returns where in the file each begins. A stripped program has only those
// that others may call.
func functions(f *elf.File, names map[string]bool) (map[string]uint64, error) {
	found := map[string]uint64{}
	for _, typ := range []elf.SectionType{elf.SHT_DYNSYM, elf.SHT_SYMTAB} {
		table := f.SectionByType(typ)
		if table == nil || int(table.Link) >= len(f.Sections) {
			continue
		}
		symbols, err := sectionData(table)
		if err != nil {
			return nil, err
		}
		text, err := sectionData(f.Sections[table.Link])
		if err != nil {
			return nil, err
		}
		const size = 24 // struct Elf64_Sym
		for ; len(symbols) >= size; symbols = symbols[size:] {
			name := binary.LittleEndian.Uint32(symbols)
			section := binary.LittleEndian.Uint16(symbols[6:])
			if elf.ST_TYPE(symbols[4]) != elf.STT_FUNC || section == 0 || uint64(name) >= uint64(len(text)) {
				continue
			}
			n := text[name:]
			end := bytes.IndexByte(n[:min(len(n), 32)], 0)
			if end < 0 || !names[string(n[:end])] {
				continue
			}
			if _, ok := found[string(n[:end])]; ok {
				continue
			}
			if off, ok := fileOffset(f, binary.LittleEndian.Uint64(symbols[8:])); ok {
				found[string(n[:end])] = off
			}
		}
	}
	return found, nil
}

func sectionData(s *elf.Section) ([]byte, error) {
	if s.Type == elf.SHT_NOBITS || s.FileSize > maxSymbols {
		return nil, nil
	}
	// Not Data, which believes a size that the file does not have.
	b, err := io.ReadAll(io.LimitReader(s.Open(), int64(s.FileSize)))
	if err != nil {
		return nil, fmt.Errorf("read section %s: %w", s.Name, err)
	}
	return b, nil
}

// fileOffset is where in the file the code of an address lies.
func fileOffset(f *elf.File, addr uint64) (uint64, bool) {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && addr >= p.Vaddr && addr-p.Vaddr < p.Filesz {
			return addr - p.Vaddr + p.Off, true
		}
	}
	return 0, false
}

// interpreter is the path of the loader that the file asks for; "": none.
func interpreter(f *elf.File) string {
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP && p.Filesz < 4096 {
			b, err := io.ReadAll(p.Open())
			if err == nil {
				return string(cutNUL(b))
			}
		}
	}
	return ""
}
