package elf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
)

// Functions finds the functions of these names that the file itself has, and
// returns where in the file each begins. A stripped program has only those
// that others may call.
func Functions(f *elf.File, names map[string]bool) (map[string]uint64, error) {
	found := map[string]uint64{}
	for _, typ := range []elf.SectionType{elf.SHT_DYNSYM, elf.SHT_SYMTAB} {
		table := f.SectionByType(typ)
		if table == nil || int(table.Link) >= len(f.Sections) {
			continue
		}
		places, err := namePlaces(f.Sections[table.Link], names)
		if err != nil {
			return nil, err
		}
		if len(places) == 0 {
			continue
		}
		const size = 24 // struct Elf64_Sym
		var chunk [2048 * size]byte
		for r := stream(table); ; {
			n, err := io.ReadFull(r, chunk[:])
			for symbols := chunk[:n]; len(symbols) >= size; symbols = symbols[size:] {
				name, ok := places[binary.LittleEndian.Uint32(symbols)]
				if !ok || elf.ST_TYPE(symbols[4]) != elf.STT_FUNC || binary.LittleEndian.Uint16(symbols[6:]) == 0 {
					continue
				}
				if _, ok := found[name]; ok {
					continue
				}
				if off, ok := Offset(f, binary.LittleEndian.Uint64(symbols[8:])); ok {
					found[name] = off
				}
			}
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("read section %s: %w", table.Name, err)
			}
		}
	}
	return found, nil
}

// namePlaces finds where in a table of texts these names, of less than 4096
// bytes each, are, each as a text of its own or as the end of another one.
func namePlaces(table *elf.Section, names map[string]bool) (map[uint32]string, error) {
	// Places of a name: linkers make one where it is whole, and there is one at
	// the end of each longer name.
	const mostWhole, most = 64, 4096
	places, count := map[uint32]string{}, map[string]int{}
	ends := [256]bool{} // of the names
	longest := 0
	for name := range names {
		ends[name[len(name)-1]] = true
		longest = max(longest, len(name))
	}
	buf := make([]byte, 64<<10)
	kept, base := 0, 0 // base: where in the table buf begins
	for r := stream(table); ; {
		n, err := io.ReadFull(r, buf[kept:])
		text := buf[:kept+n]
		for i := kept; ; {
			j := bytes.IndexByte(text[i:], 0)
			if j < 0 {
				break
			}
			end := i + j
			i = end + 1
			if end == 0 || !ends[text[end-1]] {
				continue
			}
			for name := range names {
				if !bytes.HasSuffix(text[:end], []byte(name)) {
					continue
				}
				at := end - len(name)
				whole := at > 0 && text[at-1] == 0
				if count[name] < most || whole && count[name] < most+mostWhole {
					count[name]++
					places[uint32(base+at)] = name
				}
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return places, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read section %s: %w", table.Name, err)
		}
		keep := min(longest+1, len(text))
		copy(buf, text[len(text)-keep:])
		base, kept = base+len(text)-keep, keep
	}
}
